//! Calls of the AWS endpoint, signed as AWS's SDKs sign them.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bowline_aws::sigv4::{AmzDate, Credentials, Received, SecretKey, Signing, sign};
use bowline_chaos::system::{AwsCall, RoleSession};
use bowline_control::api::DEFAULT_ACCESS_KEY;
use bowline_plumbing::wall_clock;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest answer that is read, bytes.
const ANSWER_MAX: u64 = 8 << 20;
/// Longest time that a call takes.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// What is asked of a service.
struct Request<'a> {
    service: &'a str,
    method: &'a str,
    path: &'a str,
    content_type: &'a str,
    /// `X-Amz-Target`, of services that are called by it.
    target: Option<String>,
    body: Vec<u8>,
    credentials: Option<RoleSession>,
}

/// Calls an operation; an error of AWS's is told with its code.
pub(crate) async fn call(endpoint: &str, region: &str, call: &AwsCall) -> anyhow::Result<Value> {
    let request = Request {
        service: call.service,
        method: "POST",
        path: "/",
        content_type: "application/x-amz-json-1.1",
        target: Some(format!("{}.{}", call.target, call.operation)),
        body: serde_json::to_vec(&call.input)?,
        credentials: call.credentials.clone(),
    };
    limited(endpoint, region, &request).await
}

/// Calls an operation of a service that speaks restJson, as the root user.
pub(crate) async fn rest(
    endpoint: &str,
    region: &str,
    service: &str,
    (method, path): (&str, &str),
    input: Option<&Value>,
) -> anyhow::Result<Value> {
    let request = Request {
        service,
        method,
        path,
        content_type: "application/json",
        target: None,
        body: input.map(serde_json::to_vec).transpose()?.unwrap_or_default(),
        credentials: None,
    };
    limited(endpoint, region, &request).await
}

async fn limited(endpoint: &str, region: &str, request: &Request<'_>) -> anyhow::Result<Value> {
    match tokio::time::timeout(LIMIT, answered(endpoint, region, request)).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer within {} s", LIMIT.as_secs()),
    }
}

async fn answered(endpoint: &str, region: &str, asked: &Request<'_>) -> anyhow::Result<Value> {
    let Some(authority) = endpoint.strip_prefix("http://") else {
        bail!("experiments call the AWS endpoint on loopback, without TLS; this one is {endpoint}");
    };
    let address: SocketAddr = authority.parse().with_context(|| format!("{endpoint} has no address"))?;
    let mut headers = vec![("host", authority.as_bytes()), ("content-type", asked.content_type.as_bytes())];
    headers.extend(asked.target.as_ref().map(|target| ("x-amz-target", target.as_bytes())));
    let Request { method, path, body, .. } = asked;
    let received = Received { method, path, query: None, headers: &headers, body };
    let credentials = match &asked.credentials {
        Some(session) => Credentials {
            access_key_id: session.access_key_id.clone(),
            secret: SecretKey::new(session.secret_access_key.expose()),
            session_token: Some(session.session_token.expose().to_owned()),
        },
        None => Credentials {
            access_key_id: DEFAULT_ACCESS_KEY.0.to_owned(),
            secret: SecretKey::new(DEFAULT_ACCESS_KEY.1),
            session_token: None,
        },
    };
    let at = AmzDate::from_secs(wall_clock::now().as_secs());
    let signing = Signing { region, service: asked.service, at, unsigned_payload: false };
    let added = sign(&received, &credentials, &signing)?;

    let mut request = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    let given = headers.iter().map(|(name, value)| (*name, *value));
    for (name, value) in given.chain(added.iter().map(|(name, value)| (*name, value.as_bytes()))) {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request
        .extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    request.extend_from_slice(body);
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    read(&answer)
}

/// An answer whose connection ends with it: of HTTP/1.1 with `connection: close` it is whole when the connection ends.
fn read(answer: &[u8]) -> anyhow::Result<Value> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").context("no HTTP answer")?;
    let head = std::str::from_utf8(&answer[..end]).context("no HTTP answer")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no HTTP answer")?;
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim())
    };
    if header("transfer-encoding").is_some() {
        bail!("the endpoint answered in chunks");
    }
    let body = &answer[end + 4..];
    let body: Value = match body.iter().all(u8::is_ascii_whitespace) {
        true => Value::Null,
        false => serde_json::from_slice(body).context("the answer is no JSON")?,
    };
    if !status.starts_with('2') {
        let code = body.get("__type").and_then(|it| it.as_str()).or_else(|| header("x-amzn-errortype"));
        let code = code.unwrap_or(status);
        let message = ["message", "Message"].iter().find_map(|name| body.get(name)?.as_str());
        bail!("{}: {}", code.rsplit('#').next().unwrap_or(code), message.unwrap_or("no message"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use bowline_aws::sigv4::{Moment, Presented};

    use super::*;

    #[tokio::test]
    async fn a_call_is_signed_as_the_endpoint_checks_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a call");
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"{\"task\":\"t\"}") {
                let count = stream.read(&mut part).await.expect("a request");
                assert!(count > 0, "the request is whole");
                request.extend_from_slice(&part[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"done\":true}").await.expect("it reads");
            String::from_utf8(request).expect("text")
        });
        let call = AwsCall::ecs("StopTask", serde_json::json!({"task": "t"}));
        let answer = self::call(&endpoint, "us-east-1", &call).await.expect("an answer");
        assert_eq!(answer, serde_json::json!({"done": true}));

        let request = server.await.expect("the server ends");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        let lines = head.lines().skip(1).map(|line| line.split_once(": ").expect("a header"));
        let headers: Vec<_> = lines.map(|(name, value)| (name, value.as_bytes())).collect();
        let received =
            Received { method: "POST", path: "/", query: None, headers: &headers, body: body.as_bytes() };
        let presented = Presented::parse(&received).expect("a signature");
        assert_eq!(presented.access_key_id, "test");
        let moment = Moment::at(wall_clock::now().as_secs());
        presented.verify(&received, &SecretKey::new("test"), moment).expect("it is signed with the key");
        assert!(presented.verify(&received, &SecretKey::new("other"), moment).is_err());
    }

    #[test]
    fn answers_and_errors_are_read() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\": 1}\n";
        assert_eq!(read(answer).expect("an answer"), serde_json::json!({"a": 1}));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer"), serde_json::Value::Null);
        let refused =
            b"HTTP/1.1 400 Bad Request\r\n\r\n{\"__type\":\"x#AccessDeniedException\",\"message\":\"no\"}";
        assert_eq!(read(refused).expect_err("an error").to_string(), "AccessDeniedException: no");
        let refused = b"HTTP/1.1 404 Not Found\r\nX-Amzn-ErrorType: ResourceNotFoundException\r\n\r\n{}";
        assert_eq!(read(refused).expect_err("an error").to_string(), "ResourceNotFoundException: no message");
        for broken in [b"".as_slice(), b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n\r\n{"] {
            assert!(read(broken).is_err());
        }
    }
}
