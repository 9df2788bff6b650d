//! Tells the control plane which certificates clients outside the mesh are shown. The authority of one is trusted until
//! its proxy has said that it shows a later one.

use std::time::Duration;

use bowline_discovery::tonic::Code;
use bowline_plumbing::backoff::Backoff;
use tokio::{sync::watch, time::Instant};

use crate::{
    certificates::{Stored, chain_text},
    control_plane::{ControlPlane, ControlPlaneError},
};

const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What was told, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// How often the stream has been opened: the control plane forgets what it was told before.
    opened: u64,
    serials: Vec<String>,
}

impl Told {
    /// Whether the control plane should be told this, which was told `before`. Who never had such a certificate says nothing.
    fn is_due(&self, before: &Self) -> bool {
        let has_something_to_say = !self.serials.is_empty() || !before.serials.is_empty();
        self.opened > 0 && self != before && has_something_to_say
    }
}

/// Runs for as long as the process lives. `certificates` are those in use, `opened` counts how often the stream has been.
pub(crate) async fn tell_forever(
    control_plane: ControlPlane,
    mut certificates: watch::Receiver<Vec<Stored>>,
    mut opened: watch::Receiver<u64>,
) {
    let (mut told, mut backoff) = (Told::default(), Backoff::new(BACKOFF_BASE, BACKOFF_MAX));
    loop {
        let opened_now = *opened.borrow_and_update();
        let serials = certificates.borrow_and_update().iter().filter_map(Stored::serial_outside).collect();
        let now = Told { opened: opened_now, serials };
        let mut again_at = None;
        if now.is_due(&told) {
            match control_plane.shows_outside(now.serials.clone()).await {
                Ok(()) => {
                    told = now;
                    backoff.reset();
                }
                // An earlier control plane, which does not ask. It may be another when the stream is opened again.
                Err(ControlPlaneError::Status(status)) if status.code() == Code::Unimplemented => told = now,
                Err(error) => {
                    let error = chain_text(&error);
                    tracing::warn!(
                        error,
                        "the control plane was not told which certificates are shown; trying again"
                    );
                    again_at = Some(Instant::now() + backoff.next_delay());
                }
            }
        }
        let pause = async {
            match again_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = certificates.changed() => if changed.is_err() { return },
            changed = opened.changed() => if changed.is_err() { return },
            () = pause => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(opened: u64, serials: &[&str]) -> Told {
        Told { opened, serials: serials.iter().map(|serial| (*serial).to_owned()).collect() }
    }

    #[test]
    fn what_is_others_is_told_and_all_again_over_another_stream() {
        let nothing = Told::default();
        assert!(!told(0, &["a"]).is_due(&nothing), "there is no stream yet");
        assert!(told(1, &["a"]).is_due(&nothing));
        assert!(!told(1, &["a"]).is_due(&told(1, &["a"])));
        assert!(told(1, &["b"]).is_due(&told(1, &["a"])));
        assert!(told(2, &["a"]).is_due(&told(1, &["a"])), "it was forgotten");
        assert!(told(1, &[]).is_due(&told(1, &["a"])), "it shows none any more");
        assert!(!told(1, &[]).is_due(&nothing) && !told(2, &[]).is_due(&told(1, &[])), "a sidecar");
    }
}
