//! What goes on, as proxies tell it: the rows of `bowline stat`, `edges` and `top`.
//!
//! - `who`: whose an identity is.
//! - `rates`: how often, how well, how fast.
//! - `stat`: by service, task or caller.
//! - `edges`: who calls whom.

pub(crate) mod edges;
pub(crate) mod rates;
pub(crate) mod stat;
pub(crate) mod who;

use std::time::Duration;

use anyhow::bail;
use bowline_control::{control_plane::ControlPlane, telemetry::TelemetryView};

use self::{
    edges::EdgeRow,
    stat::{By, StatRow, Told},
    who::Who,
};

/// Shortest and longest time that can be looked back.
pub(crate) const WINDOWS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);

/// The rows of `bowline stat`.
///
/// # Errors
/// There is no such service.
pub(crate) fn stat(
    control: &ControlPlane,
    services: &[String],
    by: By,
    window: Duration,
) -> anyhow::Result<Vec<StatRow>> {
    let who = Who::of(&control.snapshot());
    let told: Vec<Told> = match by {
        By::Task => {
            let views = control.telemetry_view_by_task(clamped(window)).into_iter();
            let of_task = |(task, view): (_, TelemetryView)| {
                view.edges.into_iter().map(move |edge| Told { task: Some(Clone::clone(&task)), edge })
            };
            views.flat_map(of_task).collect()
        }
        By::Service | By::Caller => {
            let edges = control.telemetry_view(clamped(window)).edges.into_iter();
            edges.map(|edge| Told { task: None, edge }).collect()
        }
    };
    let rows = stat::rows(&told, &who, by);
    check_names(services, |name| rows.iter().any(|row| row.service.is_called(name)), &who)?;
    Ok(rows.into_iter().filter(|row| is_wanted(services, |name| row.service.is_called(name))).collect())
}

/// The rows of `bowline edges`.
///
/// # Errors
/// There is no such service.
pub(crate) fn edges(
    control: &ControlPlane,
    services: &[String],
    window: Duration,
) -> anyhow::Result<Vec<EdgeRow>> {
    let who = Who::of(&control.snapshot());
    let rows = edges::rows(&control.telemetry_view(clamped(window)).edges, &who);
    check_names(services, |name| rows.iter().any(|row| row.concerns(name)), &who)?;
    Ok(rows.into_iter().filter(|row| is_wanted(services, |name| row.concerns(name))).collect())
}

fn clamped(window: Duration) -> Duration {
    window.clamp(*WINDOWS.start(), *WINDOWS.end())
}

/// Without names all are wanted.
fn is_wanted(names: &[String], is_called: impl Fn(&str) -> bool) -> bool {
    names.is_empty() || names.iter().any(|name| is_called(name))
}

/// A service may be there and have told nothing yet.
fn check_names(names: &[String], is_told: impl Fn(&str) -> bool, who: &Who) -> anyhow::Result<()> {
    for name in names {
        if !is_told(name) && !who.all().any(|party| party.is_called(name)) {
            let known: Vec<_> = who.all().map(|party| who.short(party)).collect();
            match known.is_empty() {
                true => bail!("there is no service {name}; there are none at all"),
                false => bail!("there is no service {name}; there are {}", known.join(", ")),
            }
        }
    }
    Ok(())
}
