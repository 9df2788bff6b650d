//! `bowline ca`: the authorities of the TLS demo roll over while it is called all the time.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use bowline_e2e::{
    command::eventually,
    mesh::{MeshOptions, TestMesh},
};
use serde_json::Value;

fn run(mesh: &TestMesh, arguments: &[&str]) -> Value {
    let outcome = mesh.run(&[arguments, &["-o", "json"]].concat());
    assert!(outcome.success(), "{arguments:?}: {outcome:?}");
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

#[test]
fn authorities_roll_over_under_traffic_without_a_failed_request() {
    // Proxies replace certificates within a twentieth of their life: 2 s.
    let mesh = TestMesh::up(&MeshOptions::example("two-services").argument("--certificate-ttl=40"));
    let over = AtomicBool::new(false);
    let (called, failed) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // By the gateway and from one service to the other.
                let outcome = mesh.curl("/service-a/other-status", &["-w", " %{http_code}"]);
                called.fetch_add(1, Ordering::Relaxed);
                if !outcome.stdout.ends_with("200") {
                    failed.lock().expect("nobody panics").push(outcome);
                }
            }
        });
        let more_calls = |count: usize| {
            let so_far = called.load(Ordering::Relaxed);
            eventually("more calls", Duration::from_secs(120), || {
                (called.load(Ordering::Relaxed) >= so_far + count).then_some(())
            });
        };
        // The first of two may have begun before.
        let reload = || more_calls(2);
        let rolled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            roll_over(&mesh, reload);
            // Some more with what there is now.
            more_calls(10);
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = rolled {
            std::panic::resume_unwind(panic);
        }
    });
    let failed = failed.into_inner().expect("nobody panicked");
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), called.into_inner());
}

/// `reload` returns when clients outside have read the gateways' authorities anew.
fn roll_over(mesh: &TestMesh, reload: impl Fn()) {
    let early = mesh.run(&["ca", "promote"]);
    assert!(!early.success() && early.stderr.contains("hint: `bowline ca next`"), "{early:?}");
    let rows = run(mesh, &["ca", "list"]);
    let rows = rows.as_array().expect("rows");
    let named = rows.iter().find(|row| row["services"] != serde_json::json!([])).expect("services name one");
    // What services name, the mesh's own, and the gateways' public one.
    for line in [named["arn"].as_str().expect("an ARN"), "bowline-mesh", "bowline-public"] {
        let next = run(mesh, &["ca", "next", line, "--wait"]);
        assert_eq!(
            (&next["authority"]["slot"], &next["proxiesInformed"]),
            (&"next".into(), &next["proxies"])
        );
        // Of those nobody tells whom they trust: whoever promotes an authority that they have to trust waits for them.
        reload();
        let promoted = run(mesh, &["ca", "promote", line, "--wait"]);
        assert_eq!(promoted["authority"]["arn"], next["authority"]["arn"]);
        let retired = run(mesh, &["ca", "retire", line, "--wait", "--timeout", "300"]);
        assert_eq!(retired["authority"]["slot"], "retired");
    }
    let certificates = run(mesh, &["certs"]);
    let in_use = certificates.as_array().expect("rows").iter().filter(|row| row["status"] == "inUse");
    let old = [named["arn"].as_str().unwrap_or_default(), "bowline-mesh", "bowline-public"];
    for row in in_use {
        let issuer = row["issuer"].as_str().expect("an ARN");
        assert!(!old.iter().any(|old| issuer.ends_with(old)), "{row}");
    }
    let table = mesh.run(&["ca"]).stdout;
    assert!(table.starts_with("AUTHORITY") && table.contains("retired"), "{table}");
    let trail = mesh.run(&["audit", "lookup"]).stdout;
    for name in ["AddNextAuthority", "PromoteAuthority", "RetireAuthority"] {
        assert!(trail.contains(name), "{name}: {trail}");
    }
}
