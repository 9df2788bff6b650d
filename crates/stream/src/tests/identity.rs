//! What is asked in the name of a certificate.

use bowline_discovery::identity::ShowsOutsideRequest;

use super::*;

#[tokio::test]
async fn what_is_shown_outside_is_told_in_the_name_of_the_certificate_s_task_and_bounded() {
    let fixture = start();
    let tell = |channel, serials: Vec<String>| async move {
        let mut client = IdentityClient::new(channel);
        let call = client.shows_outside(ShowsOutsideRequest { serials });
        timeout(PATIENCE, call).await.expect("in time").map(|_| ()).map_err(|status| status.code())
    };
    let many = |count: usize, digits: usize| vec!["7".repeat(digits); count];
    let of_a = fixture.connect_as(A).await;
    assert_eq!(tell(of_a.clone(), many(1_000, 64)).await, Ok(()));
    assert_eq!(tell(of_a.clone(), many(1_001, 1)).await, Err(Code::InvalidArgument));
    assert_eq!(tell(of_a, many(1, 65)).await, Err(Code::InvalidArgument));
    assert_eq!(
        tell(fixture.connect_as("spiffe://test/gone").await, many(1, 1)).await,
        Err(Code::PermissionDenied)
    );
    assert_eq!(tell(fixture.connect(None).await, many(1, 1)).await, Err(Code::Unauthenticated));
    let told = fixture.directory.shown_outside.lock().expect("nothing panicked").clone();
    assert_eq!(told, [(task(A), many(1_000, 64))]);
}
