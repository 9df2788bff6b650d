//! Memory that runs out: new work is given up, in steps, and taken again. A program of its own, as
//! it is this process's memory that counts.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bowline_proxy::{ProxyHandle, ProxyOptions, start_from_file};
use serde_json::json;

const LIMIT: usize = 512 << 20;

fn start() -> (ProxyHandle, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.json");
    let resources = json!({"node": "test", "resources": [
        {"listener": {
            "name": "out", "protocol": "HTTP", "route": "out",
            "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["a"]}},
        }},
        {"route": {"name": "out", "rules": [{"action": {"fixedResponse": {"status": 200, "body": "ok"}}}]}},
    ]});
    std::fs::write(&path, resources.to_string()).expect("written");
    let options = ProxyOptions { memory_limit: Some(LIMIT as u64), ..ProxyOptions::default() };
    (start_from_file(&path, &options).expect("the proxy starts"), directory)
}

/// The status that a new connection gets; `None` where there is no answer within a second.
fn status(address: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(address).expect("the kernel takes it");
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}

fn eventually(what: &str, address: SocketAddr, expected: Option<u16>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while status(address) != expected {
        assert!(Instant::now() < deadline, "{what}: {:?} and not {expected:?}", status(address));
    }
}

/// Takes memory until this process has so many per cent of the limit.
fn fill(per_cent: usize) -> Vec<u8> {
    let text = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let used = line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10;
    let mut block = vec![0_u8; (LIMIT / 100 * per_cent).checked_sub(used).expect("less is used")];
    // Pages are there once they are written.
    block.iter_mut().step_by(4_096).for_each(|byte| *byte = 1);
    block
}

#[test]
fn new_requests_and_then_new_connections_are_given_up_and_come_back() {
    let (proxy, _directory) = start();
    let address = proxy.address("out").expect("it listens");
    assert_eq!(status(address), Some(200));
    let most = fill(92);
    eventually("at 92 %", address, Some(503));
    let rest = fill(98);
    eventually("at 98 %", address, None);
    drop(rest);
    eventually("at 92 % again", address, None);
    drop(most);
    eventually("with room", address, Some(200));
    let metrics = proxy.metrics().render();
    let shed = metrics.lines().find(|line| line.contains("direction=\"outbound\",flag=\"OM\""));
    assert!(shed.is_some_and(|line| !line.ends_with(" 0")), "{shed:?}");
    proxy.stop();
}
