//! The AWS endpoint once more, for tasks that have a role: their sidecars lead to it from within.
//!
//! It is on loopback, but who comes is a task, and not the user of this machine: the key `test`
//! is nobody's here, or each such task were the account's root user.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Instant,
};

use bowline_plumbing::drain::DrainWatch;

use crate::{
    api::{authentication::Authentication, connection::ApiServer, limits::Limits, server::Api},
    core::Core,
};

/// Serves it on a free port of loopback, until the drain begins; once for all.
///
/// # Errors
/// The system gives no socket.
pub(super) fn serve(core: &Arc<Core>, audit_data_events: bool, drain: DrainWatch) -> io::Result<()> {
    if core.task_endpoint().is_some() {
        return Ok(());
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let api = Arc::new(Api {
        core: Arc::clone(core),
        authentication: Authentication::new(false),
        resettable: false,
        audit_data_events,
        limits: Limits::new(false, Instant::now()),
        // Who connects is a task, whatever its address.
        dashboard: None,
    });
    core.set_task_endpoint(address);
    tokio::spawn(ApiServer::serve(listener, api, None, drain));
    Ok(())
}
