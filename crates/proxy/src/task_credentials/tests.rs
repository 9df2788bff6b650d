use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

const PATH: &str = "/v2/credentials/6d1fd0a4-1b7e-4d64-a54b-6ea2ec5b2b4a";

fn access(authorization: Option<&str>) -> CredentialsAccess {
    CredentialsAccess {
        path: Secret::new(PATH.to_owned()),
        authorization: authorization.map(|token| Secret::new(token.to_owned())),
    }
}

fn credentials(expires_at: Timestamp, endpoint: &str) -> TaskCredentialsResponse {
    TaskCredentialsResponse {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: "a secret".into(),
        session_token: "a token".into(),
        expiration: i64::try_from(expires_at.as_secs()).expect("small"),
        role_arn: "arn:aws:iam::000000000000:role/reader".into(),
        endpoint: endpoint.into(),
    }
}

fn in_an_hour() -> Timestamp {
    wall_clock::now() + Duration::from_secs(3_600)
}

fn status(code: tonic::Code) -> ControlPlaneError {
    tonic::Status::new(code, "said so").into()
}

/// Serves on loopback; the addresses of the two ports.
fn serving<A: Ask>(ask: A) -> (SocketAddr, SocketAddr) {
    serving_whom(access(None), ask)
}

fn serving_whom<A: Ask>(access: CredentialsAccess, ask: A) -> (SocketAddr, SocketAddr) {
    let bind = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        socket.set_nonblocking(true).expect("a socket");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    };
    let ((credentials, http_address), (endpoint, endpoint_address)) = (bind(), bind());
    let listeners = Listeners { credentials, endpoint, access };
    tokio::spawn(serve_with(listeners, Arc::new(Keeper::new(ask))));
    (http_address, endpoint_address)
}

/// Sends a text; what comes back until the other side closes.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let exchanging = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        // A reset is an end, too.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    timeout(PATIENCE, exchanging).await.expect("in time")
}

async fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: 169.254.170.2\r\n\r\n")).await
}

#[tokio::test]
async fn the_task_s_path_gives_credentials_in_ecs_s_shape_and_nothing_else_does() {
    let expires_at = in_an_hour();
    let (http, _) = serving(move || async move { Ok(credentials(expires_at, "")) });
    let answer = get(http, PATH).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let expected = json!({
        "RoleArn": "arn:aws:iam::000000000000:role/reader",
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": "a secret",
        "Token": "a token",
        "Expiration": Timestamp::from_secs(expires_at.as_secs()).to_string(),
    });
    assert_eq!(json, expected);
    let other = format!("{}0", &PATH[..PATH.len() - 1]);
    for path in ["/", "/v2/credentials", &other, &format!("{PATH}/"), "/latest/meta-data"] {
        let answer = get(http, path).await;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("secret"), "{path}: {answer}");
    }
    let posted = format!("POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert!(exchange(http, &posted).await.starts_with("HTTP/1.1 405"));
    let large = format!("GET {PATH} HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(2 * HEAD_BYTES_MAX));
    assert!(!exchange(http, &large).await.contains("secret"));
}

#[tokio::test]
async fn where_others_reach_the_address_the_token_must_be_shown() {
    let ask = || async { Ok(credentials(in_an_hour(), "")) };
    let (http, _) = serving_whom(access(Some("the token")), ask);
    let with = |header: &str| format!("GET {PATH} HTTP/1.1\r\nhost: a\r\n{header}\r\n");
    for header in ["", "authorization: the toke\r\n", "authorization: Bearer the token\r\n"] {
        let answer = exchange(http, &with(header)).await;
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("secret"), "{header}: {answer}");
    }
    let answer = exchange(http, &with("authorization: the token\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_task_without_a_role_gets_none_and_a_trust_policy_that_says_no_is_told() {
    for (code, expected) in [
        (tonic::Code::NotFound, "404"),
        (tonic::Code::FailedPrecondition, "403"),
        (tonic::Code::Unavailable, "503"),
    ] {
        let (http, endpoint) = serving(move || async move { Err(status(code)) });
        let answer = get(http, PATH).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
        assert_eq!(exchange(endpoint, "hello").await, "");
    }
}

/// Makes what the keeper remembers so much older.
async fn age<A: Ask>(keeper: &Keeper<A>, by: Duration) {
    let mut kept = keeper.kept.lock().await;
    let older = |at: Instant| at.checked_sub(by).expect("the machine is up longer");
    kept.refused = kept.refused.take().map(|(at, refusal)| (older(at), refusal));
    kept.looked_for = kept.looked_for.map(older);
}

/// Gives each time other credentials, good for an hour, and fails where `fails` is set.
fn counting(
    fails: Arc<std::sync::Mutex<Option<tonic::Code>>>,
    start: Timestamp,
) -> (impl Ask, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let ask = move || {
        let nth = counted.fetch_add(1, Ordering::SeqCst);
        let failure = *fails.lock().expect("not poisoned");
        let expires_at = start + Duration::from_secs(3_600) * u32::try_from(nth + 1).expect("small");
        async move {
            match failure {
                Some(code) => Err(status(code)),
                None => Ok(credentials(expires_at, "")),
            }
        }
    };
    (ask, count)
}

#[tokio::test]
async fn credentials_are_kept_renewed_in_time_and_survive_the_control_plane_s_absence() {
    let start = Timestamp::from_secs(1_000_000);
    let fails = Arc::new(std::sync::Mutex::new(None));
    let (ask, count) = counting(Arc::clone(&fails), start);
    let keeper = Keeper::new(ask);
    let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
    for minutes in [0, 1, 39] {
        assert_eq!(keeper.get(at(minutes)).await.expect("credentials").expires_at, at(60));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);

    *fails.lock().expect("not poisoned") = Some(tonic::Code::Unavailable);
    assert_eq!(keeper.get(at(45)).await.expect("the old ones").expires_at, at(60));
    assert_eq!(keeper.get(at(45)).await.expect("the old ones").expires_at, at(60));
    assert_eq!(count.load(Ordering::SeqCst), 2, "a refusal is not asked for again at once");
    assert_eq!(keeper.get(at(60)).await.err().expect("they are over").status, 503);

    age(&keeper, REFUSED_FOR).await;
    *fails.lock().expect("not poisoned") = Some(tonic::Code::NotFound);
    assert_eq!(keeper.get(at(45)).await.err().expect("the role is gone").status, 404);

    age(&keeper, REFUSED_FOR).await;
    *fails.lock().expect("not poisoned") = None;
    assert!(keeper.get(at(45)).await.expect("new ones").expires_at > at(60));
}

#[tokio::test]
async fn the_other_port_leads_to_the_endpoint_that_the_control_plane_names_also_after_it_moved() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let there = listener.local_addr().expect("an address").to_string();
    // A port that nobody has any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = move || {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        let endpoint = if first { gone.to_string() } else { there.clone() };
        async move { Ok(credentials(in_an_hour(), &endpoint)) }
    };
    let (_, endpoint) = serving(ask);
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut text = [0; 5];
        stream.read_exact(&mut text).await.expect("read");
        stream.write_all(b"answer to ").await.expect("written");
        stream.write_all(&text).await.expect("written");
    });
    let mut stream = TcpStream::connect(endpoint).await.expect("connected");
    stream.write_all(b"hello").await.expect("sent");
    let mut answer = [0; 15];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("read");
    assert_eq!(&answer, b"answer to hello");
    answering.await.expect("it answered");
}

#[tokio::test]
async fn an_endpoint_that_stays_away_is_not_looked_for_by_each_connection() {
    let start = Timestamp::from_secs(1_000_000);
    let (ask, count) = counting(Arc::default(), start);
    let keeper = Keeper::new(ask);
    for expected in [1, 1, 2] {
        keeper.look_for_endpoint(None).await;
        assert_eq!(count.load(Ordering::SeqCst), expected);
        age(&keeper, LOOKED_FOR_EVERY / 2).await;
    }
    age(&keeper, LOOKED_FOR_EVERY).await;
    keeper.look_for_endpoint("127.0.0.1:1".parse().ok()).await;
    assert_eq!(count.load(Ordering::SeqCst), 2, "it is elsewhere already");
}
