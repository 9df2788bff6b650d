//! What clients outside the mesh are shown is told to the control plane.

use super::*;

fn public(renewal: &str) -> Value {
    json!({"identity": {
        "name": "public", "spiffeId": "", "dnsNames": ["shop.test"], "source": {"issued": {"renewal": renewal}},
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_outside_is_told_after_each_change_and_over_each_stream() {
    let application = application().await;
    let work = move || {
        let task = Task::start(application, 3600, vec![public("")]);
        let plane = &task.control_plane;
        let seen = || {
            let seen = plane.seen.lock().expect("not poisoned");
            (seen.shown_outside.clone(), seen.serials.clone())
        };
        eventually("the first is told", || !seen().0.is_empty());
        // The first is the proxy's own.
        let (told, serials) = seen();
        assert_eq!(told, [vec![serials[1].clone()]]);

        plane.push(response(ResourceType::Identity, &[("v2".to_owned(), public("another"))], "renew"));
        eventually("the second is told", || seen().0.len() == 2);
        let (told, serials) = seen();
        assert_eq!((serials.len(), &told[1]), (3, &vec![serials[2].clone()]));

        let streams = || plane.seen.lock().expect("not poisoned").senders.len();
        let sender = plane.seen.lock().expect("not poisoned").senders.last().expect("one").clone();
        sender.blocking_send(Err(Status::unavailable("a restart"))).expect("sent");
        eventually("it is told again", || seen().0.len() == 3);
        assert_eq!((streams(), seen().0.last()), (2, Some(&vec![serials[2].clone()])));
        task.proxy.stop();
        task.control_plane.stop();
    };
    tokio::task::spawn_blocking(work).await.expect("done");
}

/// The twin: who is called by the mesh alone has nothing to say.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_tells_nothing_of_the_kind() {
    let application = application().await;
    let work = move || {
        let task = Task::start(application, 6, vec![]);
        let seen = || task.control_plane.seen.lock().expect("not poisoned").serials.len();
        eventually("its own was renewed", || seen() > 1);
        task.proxy.stop();
        assert!(task.control_plane.seen.lock().expect("not poisoned").shown_outside.is_empty());
        task.control_plane.stop();
    };
    tokio::task::spawn_blocking(work).await.expect("done");
}
