//! Relays: real processes, real sockets, real packets.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_chaos::injector::{Injector, ground::Endpoint};
use bowline_model::fault::{Fault, FaultError, FaultInjector, FaultKind, FaultOrder, PathHarm, RogueServer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::ground::{FakeGround, injector, order, task};

mod rogue;

/// A relay, as the tests start it.
#[test]
#[ignore = "is not a test: the relays of tests are it"]
fn as_a_relay() {
    let _ = bowline_chaos::relay::main();
    std::process::exit(0);
}

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_secs(20);

/// Within this nothing has come that comes at all.
const SOON: Duration = Duration::from_millis(300);

fn path(harm: PathHarm) -> FaultOrder {
    order(FaultKind::Path { callers: vec![task(1)], cluster: "backend".to_owned(), called: Vec::new(), harm })
}

/// A ground with a server that sends back what it is sent.
async fn echo_ground() -> Arc<FakeGround> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    ground_of(address)
}

fn ground_of(address: SocketAddr) -> Arc<FakeGround> {
    let endpoints = vec![Endpoint { task: task(2), address }];
    Arc::new(FakeGround { endpoints, ..FakeGround::new() })
}

/// Begins a fault, and gives the address that callers are led to.
async fn begin(injector: &Injector, ground: &FakeGround, order: FaultOrder) -> (Fault, SocketAddr) {
    let fault = injector.begin(order).await.unwrap_or_else(|error| panic!("it begins: {error}"));
    let diverted = ground.diverted.lock().expect("whole");
    (fault, diverted.last().expect("a diversion").1)
}

/// Sends a byte and waits for it.
async fn echo(stream: &mut TcpStream) -> io::Result<Duration> {
    let begin = Instant::now();
    stream.write_all(b"x").await?;
    let mut read = [0; 1];
    stream.read_exact(&mut read).await?;
    Ok(begin.elapsed())
}

/// Whether anybody listens there.
fn listens(address: SocketAddr) -> bool {
    let wanted = format!(":{:04X} ", address.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    sockets.lines().any(|line| line.contains(&wanted) && line.contains(" 0A "))
}

/// Which process listens there.
fn listener_pid(address: SocketAddr) -> i32 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let wanted = format!(":{:04X}", address.port());
    let inode = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[1].ends_with(&wanted) && fields[3] == "0A")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .expect("somebody listens");
    let has_it = |pid: &str| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == inode.as_str()))
    };
    std::fs::read_dir("/proc")
        .expect("processes")
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .find(|pid| has_it(pid))
        .and_then(|pid| pid.parse().ok())
        .expect("a process")
}

async fn eventually(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn bytes_are_delayed_until_the_fault_ends() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let each_way = Duration::from_millis(250);
    let harm = PathHarm::Delay { each_way, jitter: Duration::ZERO, handshake_only: false };
    let (fault, relay) = begin(&injector, &ground, path(harm)).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    assert!(echo(&mut stream).await.expect("an echo") >= 2 * each_way);
    let pid = listener_pid(relay);
    let ending = tokio::spawn({
        let (injector, id) = (injector.clone(), fault.id.clone());
        async move { injector.end(id).await }
    });
    eventually("it takes no more connections", LIMIT, || !listens(relay)).await;
    let after = echo(&mut stream).await.expect("the connection goes on");
    assert!(after < each_way, "{after:?}");
    drop(stream);
    timeout(LIMIT, ending).await.expect("in time").expect("whole").expect("it ends");
    eventually("the relay is gone", LIMIT, || !PathBuf::from(format!("/proc/{pid}")).exists()).await;
    let evidence = injector.evidence(&fault.id).await.expect("it is kept");
    assert_eq!((evidence.connections, evidence.harmed, evidence.bytes_to_caller), (1, 1, 2));
}

#[tokio::test]
async fn stalled_connections_go_on_when_the_fault_ends() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::Stall)).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    assert!(timeout(SOON, echo(&mut stream)).await.is_err(), "nothing comes");
    let ending = tokio::spawn(async move { injector.end(fault.id).await });
    let mut read = [0; 1];
    timeout(LIMIT, stream.read_exact(&mut read)).await.expect("in time").expect("what was sent is passed on");
    drop(stream);
    ending.await.expect("whole").expect("it ends");
}

#[tokio::test]
async fn who_gives_up_a_stalled_connection_leaves_nothing() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (_, relay) = begin(&injector, &ground, path(PathHarm::Stall)).await;
    let pid = listener_pid(relay);
    let sockets = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").count();
    let before = sockets();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(relay).await.expect("connected");
        stream.write_all(b"x").await.expect("room");
        streams.push(stream);
    }
    eventually("they are accepted", LIMIT, || sockets() == before + 5).await;
    drop(streams);
    eventually("they are closed", LIMIT, || sockets() == before).await;
    injector.close().await;
}

#[tokio::test]
async fn one_way_bytes_arrive_and_no_answer_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let ground = ground_of(listener.local_addr().expect("an address"));
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::OneWay { after: Duration::ZERO })).await;
    let mut caller = TcpStream::connect(relay).await.expect("connected");
    caller.write_all(b"question").await.expect("room");
    let (mut called, _) = listener.accept().await.expect("it is passed on");
    let mut question = [0; 8];
    called.read_exact(&mut question).await.expect("it arrives");
    called.write_all(b"answer").await.expect("room");
    let mut answer = [0; 6];
    assert!(timeout(SOON, caller.read(&mut answer)).await.is_err(), "nothing comes");
    let ending = tokio::spawn(async move { injector.end(fault.id).await });
    timeout(LIMIT, caller.read_exact(&mut answer)).await.expect("in time").expect("it comes now");
    assert_eq!(&answer, b"answer");
    drop((caller, called));
    ending.await.expect("whole").expect("it ends");
}

#[tokio::test]
async fn a_partition_may_begin_when_connections_are_there() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::OneWay { after: SOON * 4 })).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    let mut byte = [0];
    stream.write_all(b"a").await.expect("room");
    timeout(LIMIT, stream.read_exact(&mut byte)).await.expect("in time").expect("an answer, for now");
    tokio::time::sleep(SOON * 5).await;
    stream.write_all(b"b").await.expect("room");
    assert!(timeout(SOON, stream.read(&mut byte)).await.is_err(), "nothing comes");
    let ending = tokio::spawn(async move { injector.end(fault.id).await });
    timeout(LIMIT, stream.read_exact(&mut byte)).await.expect("in time").expect("it comes now");
    assert_eq!(&byte, b"b");
    drop(stream);
    ending.await.expect("whole").expect("it ends");
}

#[tokio::test]
async fn connections_are_closed_as_they_are_accepted() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (_, relay) = begin(&injector, &ground, path(PathHarm::Refuse)).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    injector.close().await;
}

#[tokio::test]
async fn connections_are_reset_after_so_many_bytes() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (_, relay) = begin(&injector, &ground, path(PathHarm::Reset { after_bytes: 1_000 })).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    stream.write_all(&[7; 900]).await.expect("room");
    let mut read = vec![0; 900];
    stream.read_exact(&mut read).await.expect("so many pass");
    stream.write_all(&[7; 900]).await.expect("room");
    let mut rest = Vec::new();
    let error = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("in time").expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(rest.len(), 100);
    injector.close().await;
}

#[tokio::test]
async fn a_share_of_connections_is_harmed() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let order = FaultOrder { per_million: 500_000, ..path(PathHarm::Reset { after_bytes: 0 }) };
    let (fault, relay) = begin(&injector, &ground, order).await;
    let mut failed = 0;
    for _ in 0..200 {
        let result = async { echo(&mut TcpStream::connect(relay).await?).await };
        failed += u64::from(result.await.is_err());
    }
    let evidence = injector.evidence(&fault.id).await.expect("evidence");
    assert_eq!((evidence.connections, evidence.harmed), (200, failed));
    // Six standard deviations: it fails by chance once in 500 million times.
    assert!((58..=142).contains(&failed), "{failed} of 200");
    injector.close().await;
}

/// What is lost is sent again by the kernel: all arrives, and the kernel has counted what did not at first.
#[tokio::test]
async fn packets_are_lost_on_a_real_link() {
    const BYTES: usize = 600_000;
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::Loss { percent: 5 })).await;
    let stream = TcpStream::connect(relay).await.expect("connected");
    let (mut reader, mut writer) = stream.into_split();
    let sent: Vec<u8> = (0..BYTES).map(|number| (number % 251) as u8).collect();
    let sending = tokio::spawn({
        let sent = sent.clone();
        async move {
            writer.write_all(&sent).await.expect("sent");
            writer.shutdown().await.expect("its end");
        }
    });
    let mut received = Vec::new();
    timeout(LIMIT, reader.read_to_end(&mut received)).await.expect("in time").expect("all of it");
    sending.await.expect("whole");
    assert!(received == sent, "what arrives is what was sent");
    let evidence = injector.evidence(&fault.id).await.expect("evidence");
    // Of 400 segments each way, 20 are lost; of their acknowledgements, too.
    assert!(evidence.packets_dropped >= 8, "{evidence:?}");
    injector.end(fault.id.clone()).await.expect("it ends");
    let after = injector.evidence(&fault.id).await.expect("it is kept");
    assert!(after.packets_dropped >= evidence.packets_dropped, "{after:?}");
}

#[tokio::test]
async fn a_link_that_loses_everything_heals() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::Loss { percent: 100 })).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    assert!(timeout(SOON, echo(&mut stream)).await.is_err(), "nothing comes");
    // A link that has just come up loses packets before the filter does, and counts none of them.
    let counted = async {
        while injector.evidence(&fault.id).await.expect("evidence").packets_dropped == 0 {
            tokio::time::sleep(SOON).await;
        }
    };
    timeout(LIMIT, counted).await.expect("what is lost is counted");
    let ending = tokio::spawn(async move { injector.end(fault.id).await });
    let mut read = [0; 1];
    timeout(LIMIT, stream.read_exact(&mut read)).await.expect("in time").expect("it is sent again");
    drop(stream);
    ending.await.expect("whole").expect("it ends");
}

#[tokio::test]
async fn when_its_relay_is_killed_the_fault_ends() {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::Stall)).await;
    let pid = rustix::process::Pid::from_raw(listener_pid(relay)).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    eventually("the callers go to the true address", LIMIT, || ground.done().is_empty()).await;
    eventually("the fault is over", LIMIT, || injector.faults().is_empty()).await;
    injector.end(fault.id).await.expect("it is over");
}

/// The engine is gone at once, as by `kill -9`: its relay is told nothing.
#[test]
fn a_relay_without_its_engine_ends_by_itself() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (servers, engine) = (runtime(), runtime());
    let ground = servers.block_on(echo_ground());
    let (relay, until) = engine.block_on(async {
        let injector = injector(&ground);
        let order = FaultOrder { lasting: Duration::from_millis(1_500), ..path(PathHarm::Stall) };
        let (fault, relay) = begin(&injector, &ground, order).await;
        (relay, fault.ends_at)
    });
    let pid = listener_pid(relay);
    engine.shutdown_background();
    servers.block_on(async {
        let mut stream = TcpStream::connect(relay).await.expect("it is there");
        let now = bowline_plumbing::wall_clock::now;
        timeout(LIMIT, echo(&mut stream)).await.expect("in time").expect("an echo");
        assert!(now() >= until, "harmed until the deadline");
        let mut late = TcpStream::connect(relay).await.expect("whoever is still led there is served");
        echo(&mut late).await.expect("unharmed");
        eventually("it takes no more", LIMIT, || !listens(relay)).await;
        echo(&mut late).await.expect("connections go on");
        drop((stream, late));
        let is_gone = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z ")
        };
        eventually("the relay is gone", LIMIT, is_gone).await;
    });
}

#[tokio::test]
async fn no_two_faults_have_one_path_and_paths_to_different_tasks_are_two() {
    let ground = echo_ground().await;
    let other = Endpoint { task: task(3), address: ([127, 0, 0, 1], 9).into() };
    let endpoints = ground.endpoints.iter().cloned().chain([other]).collect();
    let ground = Arc::new(FakeGround { endpoints, ..FakeGround::new() });
    let injector = injector(&ground);
    let to = |called: u8| {
        order(FaultKind::Path {
            callers: vec![task(1)],
            cluster: "backend".to_owned(),
            called: vec![task(called)],
            harm: PathHarm::Stall,
        })
    };
    injector.begin(to(2)).await.expect("it begins");
    assert!(matches!(injector.begin(to(2)).await, Err(FaultError::Invalid(_))));
    assert!(matches!(injector.begin(path(PathHarm::Refuse)).await, Err(FaultError::Invalid(_))));
    injector.begin(to(3)).await.expect("to another task");
    assert!(matches!(injector.begin(to(4)).await, Err(FaultError::NotFound(_))));
    injector.close().await;
}

#[tokio::test]
async fn what_a_relay_cannot_do_is_told() {
    let ground = echo_ground().await;
    ground.fails.lock().expect("whole").insert("divert 1 backend".to_owned());
    let injector = injector(&ground);
    let error = injector.begin(path(PathHarm::Stall)).await.expect_err("the diversion fails");
    assert_eq!(error, FaultError::Failed("divert 1 backend".to_owned()));
    let relay = ground.diverted.lock().expect("whole").last().expect("a diversion").1;
    eventually("nothing of it is left", LIMIT, || !listens(relay)).await;

    ground.fails.lock().expect("whole").insert(format!("forge {} Some(SelfSigned)", task(2)));
    let rogue = path(PathHarm::Rogue(RogueServer::SelfSigned));
    assert!(matches!(injector.begin(rogue).await, Err(FaultError::Failed(_))));
    assert!(injector.faults().is_empty());
}
