//! A proxy in a task: started by the shim, told everything else by it.

use std::{
    net::{SocketAddrV4, TcpListener},
    sync::Arc,
    time::Duration,
};

use bowline_model::task::Secret;
use bowline_plumbing::{
    seal::SealKey,
    shim_link::{Hello, Place, ShimLink, Transport},
};
use tokio::sync::{Notify, watch};

use crate::{
    admin::{self, AdminSocket},
    application::Dialer,
    certificates::{Certificates, chain_text},
    control_plane::ControlPlane,
    dns::{self, upstream::Upstream},
    health,
    introspection::Introspector,
    last_good::{self, Keeper},
    log_level::LogLevel,
    options::{ProxyError, ProxyOptions},
    overload, resolver,
    run::{Control, End, ProxyHandle, build},
    shown_outside,
    sockets::Sockets,
    staging::Staging,
    stream::{Stream, watch_certified},
    task_credentials::{self, Listeners},
    telemetry::Reporter,
    tls::application::ApplicationAuthority,
    trace::sender::SpanSender,
    xray_daemon,
};

/// Runs a task's proxy until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// As [`start_with_shim`].
pub fn run_with_shim(link: ShimLink, options: &ProxyOptions) -> Result<(), ProxyError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Caught before anything is started: a signal during the start counts.
    let mut end = {
        let _entered = runtime.enter();
        End::new()?
    };
    let handle = start_with_shim(link, options)?;
    runtime.block_on(end.wait());
    handle.stop();
    Ok(())
}

/// Starts a task's proxy: greets the shim, goes on with the last good state if
/// there is one, gets a certificate, follows the stream. The shim is told when
/// traffic is accepted.
///
/// # Errors
/// The shim does not answer, or the system gives no threads or sockets. What
/// the control plane does wrong is survived.
pub fn start_with_shim(link: ShimLink, options: &ProxyOptions) -> Result<ProxyHandle, ProxyError> {
    let link = Arc::new(link);
    let hello = link.hello()?;
    let dialer = match hello.isolated {
        true => Dialer::over_shim(Arc::clone(&link))?,
        false => Dialer::Direct,
    };
    let authority = hello.task_authority.as_ref().map(ApplicationAuthority::new).transpose()?;
    let sockets = Sockets::Shim(Arc::clone(&link));
    let control = build(options, dialer, sockets, hello.application_address, authority)?;
    let authority = &hello.control_plane;
    control.lock().store.set_bootstrap_roots(&authority.trust_domain, &authority.roots_pem)?;
    publish_ports(&control, &link, &hello)?;
    open_egress(&control, &link, &hello)?;
    let credentials = Listeners::open(&link, &hello)?;
    let xray = xray_daemon::Sockets::open(&link, &hello)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = {
        let _entered = runtime.enter();
        admin::bind(options.admin.as_ref())?
    };
    let key = seal_key(&hello.seal_key)?;
    let (stop, stopping) = watch::channel(false);
    let (of_thread, drain) = (control.clone(), options.drain);
    let log_level = LogLevel::new(options.log_filter.clone());
    let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
        runtime.block_on(follow(
            &of_thread,
            &link,
            hello,
            key,
            Opened { admin, credentials, log_level, xray },
            stopping,
            drain,
        ));
    })?;
    Ok(ProxyHandle::new(control, None, stop, thread))
}

/// What is open, and none of the traffic's.
struct Opened {
    admin: AdminSocket,
    credentials: Option<Listeners>,
    log_level: LogLevel,
    xray: Option<xray_daemon::Sockets>,
}

async fn follow(
    control: &Control,
    link: &Arc<ShimLink>,
    hello: Hello,
    key: SealKey,
    Opened { admin, credentials, log_level, xray }: Opened,
    mut stopping: watch::Receiver<bool>,
    drain: Duration,
) {
    let keeper = Keeper::new(&hello.state_file, key, hello.task_id.as_str());
    let restored = match keeper.load() {
        Ok(state) => state,
        Err(error) => {
            tracing::warn!(error = %chain_text(&error), "no last good state; starting anew");
            None
        }
    };
    if let Some(state) = &restored {
        last_good::restore(control, state);
    }
    let was_restored = restored.is_some();
    let stored = restored.map(|state| state.certificates).unwrap_or_default();
    let control_plane = ControlPlane {
        address: hello.control_plane.address,
        id: hello.control_plane_id,
        control: control.clone(),
    };
    let certificates =
        Certificates::new(control_plane.clone(), Arc::clone(link), keeper.clone(), hello.token, stored);
    let (published, changed) = (certificates.published(), Arc::new(Notify::new()));
    let (certified, is_certified) = watch::channel(false);
    let (configured, is_configured) = watch::channel(was_restored);
    let opened = watch::Sender::new(0);
    let telling_outside =
        shown_outside::tell_forever(control_plane.clone(), certificates.published(), opened.subscribe());
    let (revision, revised) = watch::channel(0);
    let staging = Staging::new(control_plane.clone()).run(revision.subscribe(), certificates.published());
    let stream = Stream {
        control_plane: control_plane.clone(),
        node: hello.task_id.as_str().to_owned(),
        changed: Arc::clone(&changed),
        configured,
        opened,
        revision,
    };
    let (end, ending) = watch::channel(false);
    let reporter =
        Reporter { control_plane: control_plane.clone(), shared: Arc::clone(&control.lock().shared) };
    let reporting = tokio::spawn(reporter.run(is_certified.clone(), ending));
    let spans = SpanSender::of(control_plane.clone(), &control.lock().shared);
    let telling = spans.map(|sender| tokio::spawn(sender.run(is_certified.clone(), end.subscribe())));
    let introspector = Introspector::new(control_plane.clone(), log_level, hello.state_file.clone());
    let upstream = hello.egress.is_some().then(Upstream::of_host);
    let tasks = [
        tokio::spawn(certificates.run(changed)),
        tokio::spawn(introspector.run(is_certified.clone())),
        tokio::spawn(task_credentials::serve(credentials, control_plane.clone())),
        tokio::spawn(xray_daemon::serve(xray)),
        tokio::spawn(watch_certified(control_plane, published.clone(), certified)),
        tokio::spawn(stream.run(is_certified.clone())),
        tokio::spawn(keeper.keep(control.clone(), published, revised)),
        tokio::spawn(health::check::check_forever(control.clone())),
        tokio::spawn(resolver::resolve_forever(control.clone())),
        tokio::spawn(staging),
        tokio::spawn(telling_outside),
        tokio::spawn(overload::watch(Arc::clone(&control.lock().shared))),
        tokio::spawn(admin::serve(admin, control.clone())),
        tokio::spawn(serve_dns(control.clone(), Arc::clone(link), hello.dns, upstream)),
        tokio::spawn(tell_ready(Arc::clone(link), is_certified, is_configured)),
    ];
    // An error means that nobody can stop it any more: it ends, too.
    let _ = stopping.wait_for(|stop| *stop).await;
    tracing::info!("draining");
    let drained = control.lock().drain(drain);
    drained.await;
    // The drain's requests count, too.
    end.send_replace(true);
    let _ = reporting.await;
    if let Some(telling) = telling {
        let _ = telling.await;
    }
    for task in tasks {
        task.abort();
    }
}

fn seal_key(text: &Secret) -> Result<SealKey, ProxyError> {
    let text = text.expose();
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(ProxyError::Greeting("the seal key has not 64 hexadecimal digits"));
    }
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16)
            .map_err(|_| ProxyError::Greeting("the seal key is not hexadecimal"))?;
    }
    Ok(SealKey::from_bytes(bytes))
}

fn publish_ports(control: &Control, link: &ShimLink, hello: &Hello) -> Result<(), ProxyError> {
    for (address, port) in &hello.published {
        let (socket, bound) = link.listen(Place::Host, Transport::Tcp, *address)?;
        let socket = TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        control.lock().publish_port(&socket, *port)?;
        tracing::info!(%bound, port, "published");
    }
    Ok(())
}

fn open_egress(control: &Control, link: &ShimLink, hello: &Hello) -> Result<(), ProxyError> {
    let Some(address) = hello.egress else { return Ok(()) };
    let (socket, _) = link.listen(Place::Aliases, Transport::Tcp, address)?;
    let socket = TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    control.lock().open_egress(&socket)?;
    tracing::info!("the task may reach what this machine reaches");
    Ok(())
}

async fn serve_dns(
    control: Control,
    link: Arc<ShimLink>,
    address: Option<SocketAddrV4>,
    upstream: Option<Upstream>,
) {
    let Some(address) = address else { return };
    let opened = link.listen(Place::Aliases, Transport::Udp, address).and_then(|(udp, _)| {
        let (tcp, _) = link.listen(Place::Aliases, Transport::Tcp, address)?;
        Ok((udp, tcp))
    });
    if let Some(upstream) = &upstream {
        tracing::info!(servers = ?upstream.servers(), "names outside are asked for");
    }
    let shared = Arc::clone(&control.lock().shared);
    let served = match opened {
        Ok((udp, tcp)) => dns::serve(shared, upstream, udp, tcp).await.map_err(|error| chain_text(&error)),
        Err(error) => Err(chain_text(&error)),
    };
    if let Err(error) = served {
        tracing::error!(%address, error, "the task has no DNS server");
    }
}

/// Tells the shim, once, that containers may start.
async fn tell_ready(
    link: Arc<ShimLink>,
    mut certified: watch::Receiver<bool>,
    mut configured: watch::Receiver<bool>,
) {
    let waited = async {
        certified.wait_for(|certified| *certified).await?;
        configured.wait_for(|configured| *configured).await
    };
    if waited.await.is_err() {
        return;
    }
    let mut pause = Duration::from_millis(100);
    loop {
        let again = Arc::clone(&link);
        match tokio::task::spawn_blocking(move || again.ready()).await {
            Ok(Ok(())) => return tracing::info!("ready"),
            Ok(Err(error)) => tracing::warn!(error = %chain_text(&error), "the shim was not told: ready"),
            Err(_) => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}
