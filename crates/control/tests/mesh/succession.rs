//! One authority follows another while everybody keeps shaking hands with everybody.

use std::time::Duration;

use bowline_control::{
    control_plane::{AuthorityError, ControlConfig, ControlPlane, RevocationTarget},
    revocation::RevocationReason,
};
use bowline_model::succession::{Slot, SuccessionRefused};

use super::{
    LIMIT, Mesh,
    proxy::{Credentials, Place, Proxy, shake_hands},
};

/// A proxy that does what it is told, and its neighbours.
struct Member {
    proxy: Proxy,
    place: Place,
}

impl Member {
    /// What it shows, and what it trusts.
    fn shows(&self) -> (Credentials, String) {
        (self.proxy.credentials.clone(), self.proxy.now().roots_pem)
    }

    /// Asks for another certificate, and opens its stream with it.
    async fn renew(&mut self) {
        let renewed = self.place.renewed(&self.proxy.credentials).await.expect("it is renewed");
        self.proxy = Proxy::start(&self.place, self.proxy.task.clone(), renewed).await;
        self.proxy.until(|told| !told.roots_pem.is_empty()).await;
    }
}

/// Everybody calls everybody.
fn all_call_all(members: &[Member], when: &str) {
    for (client, server) in members.iter().flat_map(|one| members.iter().map(move |other| (one, other))) {
        let ((client, roots), (server, others)) = (client.shows(), server.shows());
        if let Err(error) = shake_hands((&client, &roots), (&server, &others)) {
            panic!("{when}: {error}");
        }
    }
}

async fn members(mesh: &Mesh) -> Vec<Member> {
    let mut members = Vec::new();
    for service in ["service-a", "service-b"] {
        for task in mesh.tasks_of(service) {
            let mut proxy = mesh.proxy(&task).await;
            proxy.until(|told| !told.roots_pem.is_empty() && !told.signing_key.is_empty()).await;
            members.push(Member { proxy, place: mesh.place.clone() });
        }
    }
    members
}

fn refused(result: Result<impl std::fmt::Debug, AuthorityError>) -> SuccessionRefused {
    match result.expect_err("it is refused") {
        AuthorityError::Refused(refused) => refused,
        other => panic!("{other}"),
    }
}

/// The slots of a line, the oldest first.
fn slots(control: &ControlPlane, line: &str) -> Vec<Slot> {
    let all = control.authorities().into_iter();
    all.filter(|view| view.line.resource_name() == line).map(|view| view.slot).collect()
}

/// The example's services name an authority of the template: the line that their certificates are of.
fn line_of_services(control: &ControlPlane) -> String {
    let named = control.authorities().into_iter().find(|view| !view.services.is_empty());
    named.expect("services name one").line.resource_name().to_owned()
}

const WAIT: Option<Duration> = Some(LIMIT);

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_services_name_rolls_over_and_every_handshake_succeeds() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 2).await;
    let control = &mesh.control;
    let line = line_of_services(control);
    let line = line.as_str();
    let mut members = members(&mesh).await;
    all_call_all(&members, "before");
    let old_key = members[0].proxy.now().signing_key;

    // Nothing to promote or retire: nothing is changed.
    assert_eq!(refused(control.promote_authority(Some(line), true, None).await), SuccessionRefused::NoNext);
    assert_eq!(
        refused(control.retire_authority(Some(line), true, None).await),
        SuccessionRefused::NothingFormer
    );
    assert!(matches!(
        control.next_authority(Some("nobody"), None, None).await,
        Err(AuthorityError::NoAuthority(_))
    ));

    let next = control.next_authority(Some(line), None, WAIT).await.expect("it is made");
    assert_eq!((next.authority.slot, next.informed, next.proxies), (Slot::Next, 4, 4));
    assert!(next.authority.since.is_some());
    all_call_all(&members, "with a next one");
    assert_eq!(members[0].proxy.now().signing_key, old_key, "it does not sign");
    assert!(matches!(
        refused(control.next_authority(Some(line), None, None).await),
        SuccessionRefused::NextExists(_)
    ));

    let promoted = control.promote_authority(Some(line), false, WAIT).await.expect("it signs");
    assert_eq!(
        (promoted.authority.arn.clone(), promoted.authority.slot),
        (next.authority.arn, Slot::Current)
    );
    for member in &mut members {
        member.proxy.until(|told| told.signing_key != old_key).await;
    }
    for at in 0..members.len() {
        all_call_all(&members, "under way");
        let refusal = refused(control.retire_authority(Some(line), false, None).await);
        let SuccessionRefused::Live { peers, .. } = refusal else { panic!("{refusal}") };
        assert_eq!(peers.len(), members.len() - at);
        members[at].renew().await;
    }
    all_call_all(&members, "with certificates of the new one");
    assert_eq!(slots(control, line), [Slot::Former, Slot::Current]);

    let retired = control.retire_authority(Some(line), false, WAIT).await.expect("nobody needs it");
    assert_eq!((retired.authority.arn.resource_name(), retired.authority.slot), (line, Slot::Retired));
    for member in &mut members {
        member.proxy.until(|told| told.roots_pem.matches("BEGIN CERTIFICATE").count() == 2).await;
    }
    all_call_all(&members, "after");
    // What services name is still the first: whoever comes now is certified by its successor.
    members[0].renew().await;
    all_call_all(&members, "after a renewal");
    drop(members);
    mesh.stop().await;

    let control =
        ControlPlane::start(ControlConfig::new(directory.path().join("state"))).await.expect("starts");
    assert_eq!(slots(&control, line), [Slot::Retired, Slot::Current], "it outlives a restart");
    control.shutdown().await;
}

/// The twin: what the refusals are there for.
#[tokio::test(flavor = "multi_thread")]
async fn by_force_whoever_was_not_told_refuses_what_others_show() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 1).await;
    let line = line_of_services(&mesh.control);
    let line = Some(line.as_str());
    let mut members = members(&mesh).await;
    // It goes on, but hears nothing.
    let deaf = members.pop().expect("two").shows();
    members[0].proxy.until(|told| !told.roots_pem.is_empty()).await;
    let others =
        mesh.control.next_authority(line, None, Some(Duration::from_millis(300))).await.expect("made");
    assert_eq!((others.informed, others.proxies), (1, 2));
    let refusal =
        refused(mesh.control.promote_authority(line, false, Some(Duration::from_millis(300))).await);
    assert!(matches!(&refusal, SuccessionRefused::Uninformed(names) if names.len() == 1), "{refusal}");
    let old = members[0].shows();
    shake_hands((&deaf.0, &deaf.1), (&old.0, &old.1)).expect("nothing has changed");

    mesh.control.promote_authority(line, true, None).await.expect("by force");
    members[0].renew().await;
    let new = members[0].shows();
    assert!(shake_hands((&deaf.0, &deaf.1), (&new.0, &new.1)).is_err(), "it does not trust it");
    mesh.control.retire_authority(line, true, None).await.expect("by force");
    members[0].proxy.until(|told| told.roots_pem.matches("BEGIN CERTIFICATE").count() == 2).await;
    let new = members[0].shows();
    assert!(shake_hands((&new.0, &new.1), (&deaf.0, &deaf.1)).is_err(), "it is trusted no more");
    drop(members);
    mesh.stop().await;
}

/// A certificate is on its gateway's disk before it is shown: issued is not shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_s_old_authority_is_trusted_until_it_says_that_it_shows_another_s_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 1).await;
    let control = &mesh.control;
    let task = mesh.gateway_task();
    let mut gateway = mesh.proxy(&task).await;
    let told = gateway.until(|told| told.identities.len() > 1).await;
    let name = told.identities.into_iter().find(|name| name != "mesh").expect("a public one");
    let first = mesh.place.public(&gateway.credentials, &name).await.expect("issued");
    mesh.place.shows_outside(&gateway.credentials, &[&first]).await.expect("told");

    let public = Some("bowline-public");
    control.next_authority(public, None, WAIT).await.expect("made");
    control.promote_authority(public, false, WAIT).await.expect("it signs");
    let short = Some(Duration::from_millis(300));
    let holds = |refusal| match refusal {
        SuccessionRefused::Live { peers, .. } => assert_eq!(peers, [task.as_str()]),
        other => panic!("{other}"),
    };
    holds(refused(control.retire_authority(public, false, None).await));
    let second = mesh.place.public(&gateway.credentials, &name).await.expect("issued");
    holds(refused(control.retire_authority(public, false, short).await));
    mesh.place.shows_outside(&gateway.credentials, &[&first]).await.expect("told");
    holds(refused(control.retire_authority(public, false, short).await));

    // Whoever says that it shows the old one again is believed.
    mesh.place.shows_outside(&gateway.credentials, &[&second]).await.expect("told");
    mesh.place.shows_outside(&gateway.credentials, &[&first]).await.expect("told");
    holds(refused(control.retire_authority(public, false, short).await));

    // Another stream: perhaps of a process that came back with less than the one before had.
    mesh.place.shows_outside(&gateway.credentials, &[&second]).await.expect("told");
    let gateway = Proxy::start(&mesh.place, task.clone(), gateway.credentials.clone()).await;
    holds(refused(control.retire_authority(public, false, short).await));

    let retiring = control.retire_authority(public, false, WAIT);
    let shown = [&second];
    let telling = mesh.place.shows_outside(&gateway.credentials, &shown);
    let (retired, told) = tokio::join!(retiring, telling);
    told.expect("told");
    assert_eq!(retired.expect("nobody shows one of it").authority.slot, Slot::Retired);
    let roots = std::fs::read_to_string(control.gateway_ca_path()).expect("the CA is there");
    assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 1, "{roots}");
    drop(gateway);
    mesh.stop().await;
}

/// The mesh's own, which the stream's servers are certified by.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_while_the_mesh_s_own_rolled_over_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let mesh = Mesh::start(&state, 1).await;
    let control = &mesh.control;
    let members = members(&mesh).await;
    // It knows the first root alone, and is away until both steps are done.
    let away = mesh.place.clone();
    let task = members[0].proxy.task.clone();
    control.next_authority(None, None, WAIT).await.expect("made");
    control.promote_authority(None, false, WAIT).await.expect("it signs");
    assert_eq!(slots(control, "bowline-mesh"), [Slot::Former, Slot::Current]);
    let back = away.renewed(&members[0].proxy.credentials).await.expect("it believes the stream's server");
    let mut proxy = Proxy::start(&away, task.clone(), back.clone()).await;
    proxy.until(|told| told.roots_pem.matches("BEGIN CERTIFICATE").count() == 3).await;

    control.retire_authority(None, false, WAIT).await.expect("no proxy has a certificate of it");
    // The servers' certificate is another, which who was told of it believes, and who was not does not.
    let told = Place { roots_pem: back.roots_pem.clone(), ..away.clone() };
    let renewed = async {
        while told.renewed(&back).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, renewed).await.expect("in time");
    let gone = async {
        while away.renewed(&back).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("in time");
    // A revocation still finds its CRL, and the default one is the present authority's.
    let target = RevocationTarget::Task(task.as_str().to_owned());
    control.revoke(&target, RevocationReason::Unspecified).await.expect("revoked");
    let crl = control.crl(None).expect("a CRL");
    assert_eq!(crl.authority.resource_name(), "bowline-mesh-2");
    drop((members, proxy));
    mesh.stop().await;
}
