//! What is asked in the name of a certificate.

use bowline_discovery::identity::{
    FETCH_PURPOSE, FetchRequest, IssueRequest, IssueResponse, ShowsOutsideRequest, TaskCredentialsRequest,
    identity_client::IdentityClient,
};
use bowline_plumbing::hpke::{Recipient, Sealed};

use super::*;

async fn issue(channel: Channel, token: &str, name: &str, csr: &[u8]) -> Result<IssueResponse, Status> {
    let request = IssueRequest { token: token.into(), csr_der: csr.to_vec(), name: name.into() };
    let mut client = IdentityClient::new(channel);
    timeout(PATIENCE, client.issue(request)).await.expect("in time").map(tonic::Response::into_inner)
}

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

#[tokio::test]
async fn a_token_is_good_for_one_certificate() {
    let fixture = start();
    let channel = fixture.connect(None).await;
    let refused = issue(channel.clone(), "token", "public", b"csr").await.expect_err("another's name");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let issued = issue(channel.clone(), "token", "", b"csr").await.expect("a certificate");
    assert_eq!((issued.not_after, issued.spiffe_id.as_str()), (2, A));
    assert_eq!(*fixture.directory.issued.lock().expect("nothing panicked"), [(task(A), String::new())]);
    let again = issue(channel.clone(), "token", "", b"csr").await.expect_err("used up");
    assert_eq!(again.code(), Code::Unauthenticated);
    let nothing = issue(channel, "", "", b"csr").await.expect_err("neither token nor certificate");
    assert_eq!(nothing.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_renews_the_identities_of_its_task() {
    let fixture = start();
    let channel = fixture.connect_as(B).await;
    issue(channel.clone(), "", "public", b"csr").await.expect("a certificate");
    assert_eq!(*fixture.directory.issued.lock().expect("nothing panicked"), [(task(B), "public".to_owned())]);
    let code = |result: Result<IssueResponse, Status>| result.expect_err("refused").code();
    assert_eq!(code(issue(channel.clone(), "", "nobody", b"csr").await), Code::NotFound);
    assert_eq!(code(issue(channel.clone(), "", "", b"bad").await), Code::InvalidArgument);
    fixture.directory.change(|world| world.tasks.clear());
    assert_eq!(code(issue(channel, "", "", b"csr").await), Code::PermissionDenied);
}

#[tokio::test]
async fn credentials_are_of_the_role_of_the_certificate_s_own_task() {
    let fixture = start();
    let ask = |channel| async move {
        let mut client = IdentityClient::new(channel);
        let call = client.task_credentials(TaskCredentialsRequest {});
        timeout(PATIENCE, call).await.expect("in time").map(tonic::Response::into_inner)
    };
    let given = ask(fixture.connect_as(A).await).await.expect("a role");
    assert_eq!(given.role_arn, "arn:aws:iam::000000000000:role/a");
    assert_eq!((given.expiration, given.endpoint.as_str()), (3, "127.0.0.1:4566"));
    let refused = |answer: Result<_, Status>| answer.map(|_| ()).expect_err("refused").code();
    assert_eq!(refused(ask(fixture.connect_as(B).await).await), Code::NotFound);
    assert_eq!(refused(ask(fixture.connect_as("spiffe://test/gone").await).await), Code::PermissionDenied);
    assert_eq!(refused(ask(fixture.connect(None).await).await), Code::Unauthenticated);
}

#[tokio::test]
async fn a_key_is_sealed_for_the_proxy_that_may_have_it() {
    let fixture = start();
    let recipient = Recipient::generate().expect("a key");
    let ask = |channel, name: &str, recipient: &[u8]| {
        let request = FetchRequest { name: name.to_owned(), recipient: recipient.to_vec() };
        async move {
            let mut client = IdentityClient::new(channel);
            timeout(PATIENCE, client.fetch(request)).await.expect("in time").map(tonic::Response::into_inner)
        }
    };
    let key = recipient.public_key();
    let given = ask(fixture.connect_as(A).await, "acm:a", key).await.expect("its own");
    assert_eq!(given.chain_der, [b"leaf".to_vec(), b"above".to_vec()]);
    let sealed = Sealed { encapsulated: given.encapsulated, ciphertext: given.sealed_key };
    assert_eq!(**recipient.open(&sealed, FETCH_PURPOSE, b"leaf").expect("it opens"), b"key"[..]);
    // Not in the place of another certificate's.
    assert!(recipient.open(&sealed, FETCH_PURPOSE, b"other").is_err());

    let refused = |answer: Result<_, Status>| answer.map(|_| ()).expect_err("refused").code();
    assert_eq!(refused(ask(fixture.connect_as(B).await, "acm:a", key).await), Code::NotFound);
    assert_eq!(refused(ask(fixture.connect_as(A).await, "acm:b", key).await), Code::NotFound);
    assert_eq!(refused(ask(fixture.connect(None).await, "acm:a", key).await), Code::Unauthenticated);
    let gone = fixture.connect_as("spiffe://test/gone").await;
    assert_eq!(refused(ask(gone, "acm:a", key).await), Code::PermissionDenied);
    for key in [&[][..], &[4; 65], &[0; 64]] {
        assert_eq!(refused(ask(fixture.connect_as(A).await, "acm:a", key).await), Code::InvalidArgument);
    }
}
