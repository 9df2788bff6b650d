//! Whom revocations reach, and by which number.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline_discovery::resource::{Resource, ResourceType};
use bowline_model::clock::Timestamp;
use bowline_stream::{
    directory::{Acknowledgement, Directory as _},
    resources::ResourceSet,
    standing::Standing,
};

use super::Mesh;
use crate::{
    registry::{Registry, RegistryError},
    revocation::{RevocationReason, RevocationRecord},
};

fn revoke(registry: &mut Registry, serial: &str) {
    let record = RevocationRecord {
        serial: serial.into(),
        authority: "arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/a".parse().expect("an ARN"),
        task: None,
        spiffe_id: None,
        reason: RevocationReason::default(),
        revoked_at: Timestamp::from_secs(1),
        not_after: Timestamp::from_secs(u64::MAX / 4_000),
        fault_until: None,
    };
    registry.revocations.put(serial, record);
}

/// How many certificates a proxy refuses.
fn refused(set: &ResourceSet) -> usize {
    match set.of(ResourceType::Revocation).values().next() {
        Some(held) => match &*held.resource {
            Resource::Revocation(revocation) => revocation.serials.len(),
            other => panic!("{other:?}"),
        },
        None => panic!("every proxy has one"),
    }
}

#[test]
fn revocations_reach_everybody_and_are_in_what_is_made_later() {
    let mesh = Mesh::new();
    let ([near, _], [far, _]) = (mesh.tasks("n0", "b"), mesh.tasks("n1", "b"));
    let before = [&near, &far].map(|task| mesh.set(task));
    let core = &mesh.0.core;
    let told = core.revocations_generation();
    mesh.0.change(|registry| revoke(registry, "0a"));
    assert!(core.revocations_generation() > told);
    // One is looked at before its endpoints change, the other one after.
    mesh.set(&far);
    mesh.listen(&mesh.tasks("n0", "a")[0], 55);
    mesh.listen(&mesh.tasks("n1", "a")[0], 56);
    let after = [&near, &far].map(|task| mesh.set(task));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((refused(before), refused(after)), (0, 1));
        assert!(Arc::ptr_eq(before.of(ResourceType::Cluster), after.of(ResourceType::Cluster)));
    }
}

#[test]
fn who_has_revocations_has_them_by_the_number_that_is_waited_for() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let [task, _] = mesh.tasks("n0", "a");
    let over = AtomicBool::new(false);
    let lasting = || !over.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        // Streams that open at any moment, and changes of something else at the same time.
        let looking = scope.spawn(|| {
            let mut first_seen = BTreeMap::new();
            while lasting() {
                let standing = Standing::of(&**core, &task).expect("it lives");
                first_seen.entry(refused(standing.set())).or_insert(standing.generation());
            }
            first_seen
        });
        scope.spawn(|| {
            while lasting() {
                core.change::<_, RegistryError>(|_| Ok(())).expect("nothing is written");
            }
        });
        let waited_for: Vec<_> = (1..=500)
            .map(|count| {
                mesh.0.change(|registry| revoke(registry, &format!("{count:04x}")));
                core.revocations_generation()
            })
            .collect();
        over.store(true, Ordering::SeqCst);
        for (count, generation) in looking.join().expect("no panic").split_off(&1) {
            assert!(generation >= waited_for[count - 1], "{count} by {generation}");
        }
    });
}

#[tokio::test]
async fn who_refuses_the_revocations_has_not_taken_them() {
    let mesh = Mesh::new();
    let core = &mesh.0.core;
    let tasks = mesh.tasks("n0", "a");
    tasks.iter().for_each(|task| core.connected(task, "0b"));
    mesh.0.change(|registry| revoke(registry, "0a"));
    let generation = core.revocations_generation();
    for (task, refusal) in tasks.iter().zip([None, Some("too many".to_owned())]) {
        let kind = ResourceType::Revocation;
        core.acknowledged(task, Acknowledgement { kind, generation, refusal });
    }
    assert_eq!(core.revocations_taken(generation, Duration::from_millis(20)).await, (1, 2));
}
