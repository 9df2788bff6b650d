//! What the integration tests run: a shim, a sidecar that forwards bytes as
//! they are, an application that answers questions, and an agent to be killed.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use bowline_agent::{Agent, AgentConfig, NetworkMode, ProgramCommand};
use bowline_model::task::{DesiredStatus, Secret, TaskDesire, TaskId, TaskSpec, TokenIssuer};
use bowline_plumbing::{
    shim_link::{Hello, HostsEntry, Place, ShimLink, Transport},
    sys::take_inherited_fd,
};
use serde::Deserialize;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = || arguments.last().expect("a number").parse().expect("a number");
    match arguments[0].as_str() {
        "shim" => return bowline_agent::shim::main(number()),
        "stress" => return bowline_agent::stress::main(),
        "proxy" => proxy(number()),
        "app" => app(&arguments[1]),
        "eat" => eat(),
        "connect" => return connects(&arguments[1]),
        "loopback" => return ExitCode::from(loopback()),
        "table" => return ExitCode::from(tables_named(number(), &arguments[1])),
        "agent" => agent(&arguments[1]),
        other => panic!("no subcommand {other}"),
    }
    ExitCode::SUCCESS
}

/// Takes 256 MiB, then idles.
fn eat() {
    let memory = vec![1_u8; 256 * 1024 * 1024];
    println!("has eaten {}", std::hint::black_box(&memory).len());
    loop {
        std::thread::park();
    }
}

/// How long a connection within a task may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// Whether somebody answers there soon.
fn connects(address: &str) -> ExitCode {
    match TcpStream::connect_timeout(&address.parse().expect("an address"), CONNECT_TIMEOUT) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => ExitCode::from(1),
        Err(error) => panic!("{address}: {error}"),
    }
}

/// How many of a hundred datagrams over the loopback arrive.
fn loopback() -> u8 {
    // As many at a time as a socket has room for.
    const BATCHES: u32 = 20;
    const BATCH: u32 = 100;
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    receiver.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    sender.connect(receiver.local_addr().expect("its address")).expect("connects");
    let mut arrived = 0;
    for _ in 0..BATCHES {
        for _ in 0..BATCH {
            sender.send(b"x").expect("sends");
        }
        while receiver.recv(&mut [0; 8]).is_ok() {
            arrived += 1;
        }
    }
    u8::try_from(arrived * 100 / (BATCHES * BATCH)).expect("a percentage")
}

/// In how many of the networks that a task's init holds the packet filter has a table of this name.
fn tables_named(init: i32, name: &str) -> u8 {
    use bowline_plumbing::netlink::{Family, Message, NetlinkSocket};
    use nix::sched::{CloneFlags, setns};
    const GET_TABLE: u16 = 10 << 8 | 1;
    const NEW_TABLE: u16 = 10 << 8;
    const IPV4: u8 = 2;
    let user = fs::File::open(format!("/proc/{init}/ns/user")).expect("a user namespace");
    let descriptors = fs::read_dir(format!("/proc/{init}/fd")).expect("descriptors");
    let networks: Vec<fs::File> = descriptors
        .map(|entry| entry.expect("a descriptor").path())
        .filter(|path| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("net:")))
        .map(|path| fs::File::open(path).expect("a network namespace"))
        .collect();
    assert_eq!(networks.len(), 2, "the application's and the aliases'");
    setns(user, CloneFlags::CLONE_NEWUSER).expect("enters");
    let has = |network: fs::File| {
        setns(network, CloneFlags::CLONE_NEWNET).expect("enters");
        let mut question = Message::new(GET_TABLE, 0);
        question.bytes(&[IPV4, 0, 0, 0]);
        question.text(1, name);
        match NetlinkSocket::open(Family::Netfilter).expect("a socket").ask(question, NEW_TABLE) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => panic!("{error}"),
        }
    };
    networks.into_iter().map(|network| u8::from(has(network))).sum()
}

/// What the tests' sidecar does; stands in the place of the control plane's roots.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Script {
    /// Listeners in the alias network; all lead to the task's own application.
    aliases: Vec<SocketAddrV4>,
    /// Where the application listens.
    application_port: u16,
    /// Names for the hosts file.
    hosts: Vec<HostsEntry>,
}

fn proxy(fd: i32) {
    let link = Arc::new(ShimLink::new(take_inherited_fd(fd).expect("a descriptor")));
    let hello = Arc::new(link.hello().expect("a hello"));
    println!("token={}", hello.token.as_ref().map_or("none", Secret::expose));
    let script: Script = serde_json::from_str(&hello.control_plane.roots_pem).expect("a script");
    let mut listeners = Vec::new();
    for alias in &script.aliases {
        let (fd, _) = link.listen(Place::Aliases, Transport::Tcp, *alias).expect("listens");
        listeners.push((TcpListener::from(fd), script.application_port));
    }
    for (address, port) in &hello.published {
        let (fd, _) = link.listen(Place::Host, Transport::Tcp, *address).expect("published");
        listeners.push((TcpListener::from(fd), *port));
    }
    for inbound in &hello.inbound {
        let (fd, _) = link.inbound(&inbound.port_name).expect("an inbound socket");
        if inbound.port_name == "control" {
            let (listener, link, hello) = (TcpListener::from(fd), link.clone(), hello.clone());
            listener.set_nonblocking(false).expect("blocking");
            std::thread::spawn(move || {
                for connection in listener.incoming().flatten() {
                    control(connection, &link, &hello);
                }
            });
            continue;
        }
        listeners.push((TcpListener::from(fd), inbound.container_port));
    }
    if let Some(address) = hello.egress {
        let (fd, _) = link.listen(Place::Aliases, Transport::Tcp, address).expect("an egress listener");
        let listener = TcpListener::from(fd);
        listener.set_nonblocking(false).expect("blocking");
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                tell_destination(connection);
            }
        });
    }
    link.hosts(script.hosts).expect("writes hosts");
    link.ready().expect("ready");
    for (listener, port) in listeners {
        listener.set_nonblocking(false).expect("blocking");
        let (link, hello) = (link.clone(), hello.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (link, hello) = (link.clone(), hello.clone());
                std::thread::spawn(move || forward(connection, &link, &hello, port));
            }
        });
    }
    loop {
        std::thread::park();
    }
}

/// Answers a connection to elsewhere with where it was to go.
fn tell_destination(mut connection: TcpStream) {
    let mut question = String::new();
    if BufReader::new(&connection).read_line(&mut question).is_err() {
        return;
    }
    let destination = socket2::SockRef::from(&connection)
        .original_dst_v4()
        .ok()
        .and_then(|address| address.as_socket())
        .map_or("nowhere".to_owned(), |address| address.to_string());
    let _ = connection.write_all(format!("sidecar {} has {destination}", std::process::id()).as_bytes());
}

/// Does what a test tells the sidecar to.
fn control(mut connection: TcpStream, link: &ShimLink, hello: &Hello) {
    let mut order = String::new();
    if BufReader::new(&connection).read_line(&mut order).is_err() {
        return;
    }
    let words: Vec<&str> = order.split_whitespace().collect();
    let answer = match words[..] {
        ["authority"] => {
            let authority = hello.task_authority.as_ref().expect("a CA");
            assert!(authority.key_pem.expose().contains("PRIVATE KEY"));
            authority.certificate_pem.clone()
        }
        ["pid"] => std::process::id().to_string(),
        ["hosts", address, name] => {
            let address = address.parse().expect("an address");
            let entry = HostsEntry { address, names: vec![name.to_owned()] };
            format!("{:?}", link.hosts(vec![entry]).map_err(|error| error.to_string()))
        }
        ["listen-host", address] => {
            let address = address.parse().expect("an address");
            format!(
                "{:?}",
                link.listen(Place::Host, Transport::Tcp, address).map_err(|error| error.to_string())
            )
        }
        ["token"] => match link.token() {
            Ok(token) => token.expose().to_owned(),
            Err(error) => error.to_string(),
        },
        _ => "what?".to_owned(),
    };
    let _ = connection.write_all(answer.as_bytes());
}

fn forward(client: TcpStream, link: &ShimLink, hello: &Hello, port: u16) {
    let address = SocketAddr::from((hello.application_address, port));
    let server = if hello.isolated {
        let fd = link.application_sockets(1).expect("a socket").remove(0);
        let socket = socket2::Socket::from(fd);
        socket.set_nonblocking(false).expect("blocking");
        if socket.connect(&address.into()).is_err() {
            return;
        }
        TcpStream::from(socket)
    } else {
        let Ok(stream) = TcpStream::connect(address) else { return };
        stream
    };
    let pair = |a: &TcpStream, b: &TcpStream| {
        let (mut from, mut to) = (a.try_clone().expect("a copy"), b.try_clone().expect("a copy"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        })
    };
    let _ = (pair(&client, &server), pair(&server, &client));
}

/// Answers one question a connection.
fn app(address: &str) {
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot bind {address}: {error}");
            std::process::exit(3);
        }
    };
    println!("listening on {address}");
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || answer(connection));
    }
}

fn answer(mut connection: TcpStream) {
    let mut question = String::new();
    if BufReader::new(&connection).read_line(&mut question).is_err() {
        return;
    }
    let text = match question.trim_end().split_once(' ').unwrap_or((question.trim_end(), "")) {
        ("pid", _) => std::process::id().to_string(),
        ("read", path) => fs::read_to_string(path).unwrap_or_else(|error| format!("error: {error}")),
        ("write", path) => match fs::write(path, "x") {
            Ok(()) => "written".to_owned(),
            Err(error) => format!("error: {error}"),
        },
        ("env", name) => std::env::var(name).unwrap_or_else(|_| "unset".to_owned()),
        ("status", _) => fs::read_to_string("/proc/self/status").unwrap_or_default(),
        ("ask", rest) => {
            let (address, question) = rest.split_once(' ').expect("address and question");
            ask(address, question).unwrap_or_else(|error| format!("error: {:?}", error.kind()))
        }
        ("datagram", address) => {
            let sent =
                std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", address));
            format!("{:?}", sent.map_err(|error| error.kind()))
        }
        (other, _) => format!("what is {other}?"),
    };
    let _ = connection.write_all(text.as_bytes());
}

fn ask(address: &str, question: &str) -> std::io::Result<String> {
    let address = std::net::ToSocketAddrs::to_socket_addrs(address)?.next().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

struct NoTokens;

impl TokenIssuer for NoTokens {
    fn issue(&self, _: &TaskId) -> Option<Secret> {
        None
    }
}

/// An agent that runs the tasks of standard input, and prints reports, until it is killed.
#[tokio::main]
async fn agent(state_dir: &str) {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).expect("tasks");
    let specs: Vec<TaskSpec> = serde_json::from_str(&text).expect("tasks");
    let desires = specs
        .into_iter()
        .map(|spec| TaskDesire { spec: Arc::new(spec), status: DesiredStatus::Running })
        .collect();
    let (_keep, desired) = tokio::sync::watch::channel(Arc::new(desires));
    let (reports, mut receiver) = tokio::sync::mpsc::channel(64);
    let config = AgentConfig {
        state_dir: state_dir.into(),
        shim_command: ProgramCommand::this_program("shim").expect("own path"),
        proxy_command: ProgramCommand::this_program("proxy").expect("own path"),
        network: NetworkMode::Isolated,
        output: tokio::sync::mpsc::channel(1).0,
        usage: None,
        logs: bowline_agent::LogDelivery::default(),
    };
    let _agent = Agent::start(config, desired, reports, Arc::new(NoTokens)).expect("starts");
    while let Some(report) = receiver.recv().await {
        println!("{}", serde_json::to_string(&report).expect("a report"));
    }
}
