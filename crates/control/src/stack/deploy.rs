//! Carries a stack out: seals what it is made from, applies it, and keeps track of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError},
};

use bowline_aws::{
    acmpca,
    cfn::{Diagnostics, Inputs, Stack, Template},
};
use bowline_model::{arn::Arn, clock::Timestamp};
use bowline_plumbing::wall_clock;
use socket2::{Domain, Socket, Type};

use super::{
    ApplyContext, ApplyError, StackFault, apply, lifecycle,
    record::{ResourceStatus, StackRecord, StackRequest, StackSource, StackStatus, StackTemplate},
    secrets,
};
use crate::{core::Core, ecs::record::Asker, registry::Registry, secrets::Vault};

/// How a stack is to be carried out, besides its template.
#[derive(Clone, Debug, Default)]
pub(crate) struct StackOrder {
    /// By whom.
    pub(crate) by: Asker,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) disable_rollback: bool,
    /// A failed creation deletes the stack.
    pub(crate) delete_on_failure: bool,
    pub(crate) timeout_minutes: Option<u32>,
    pub(crate) termination_protection: bool,
    /// The token that it was asked with.
    pub(crate) request: Option<StackRequest>,
    /// A failed update goes back to what was before.
    pub(crate) back: bool,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    /// For people.
    pub(crate) notes: Vec<StackFault>,
    /// Whether anything is another than before.
    pub(crate) changed: bool,
}

fn context_of(id: &str) -> String {
    format!("stack/{id}")
}

impl Core {
    /// Evaluates a template: the exports of other stacks and the revisions of task definitions
    /// are those of this moment.
    pub(crate) fn resolve_stack(
        self: &Arc<Self>,
        name: &str,
        template: &StackTemplate,
    ) -> Result<Stack, Diagnostics> {
        let exports = exports(&self.registry(), &[name]);
        self.resolve_with(name, template, exports)
    }

    /// What is wrong with a stack once another one's exports are gone.
    pub(crate) fn resolve_without(
        self: &Arc<Self>,
        name: &str,
        template: &StackTemplate,
        gone: &str,
    ) -> Option<Diagnostics> {
        let exports = exports(&self.registry(), &[name, gone]);
        self.resolve_with(name, template, exports).err()
    }

    fn resolve_with(
        self: &Arc<Self>,
        name: &str,
        template: &StackTemplate,
        exports: BTreeMap<String, String>,
    ) -> Result<Stack, Diagnostics> {
        let files: Vec<_> =
            template.files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let read = Template::parse_many(&files)?;
        let registry = self.registry();
        let scope = registry.settings().scope.clone();
        let revisions = self.revisions();
        read.resolve(&Inputs {
            stack_name: name.to_owned(),
            region: scope.region,
            account_id: scope.account_id,
            parameters: template.parameters.clone(),
            exports,
            revision: revisions,
            ..Inputs::default()
        })
    }

    /// Seals what a stack, or a change set, is made from, under its ARN.
    pub(crate) fn seal_source(&self, id: &str, template: &StackTemplate) -> Result<StackSource, ApplyError> {
        let fail = |error: &dyn std::fmt::Display| ApplyError::Seal(error.to_string());
        let plain = serde_json::to_vec(template).map_err(|error| fail(&error))?;
        let sealed =
            self.authorities().master_key().seal(&context_of(id), &plain).map_err(|error| fail(&error))?;
        Ok(StackSource { sealed, parameters: told_parameters(template) })
    }

    /// What a stack or change set was made from.
    pub(crate) fn open_source(&self, id: &str, source: &StackSource) -> Option<StackTemplate> {
        let plain = self.authorities().master_key().open(&context_of(id), &source.sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// Makes the services what the stack says.
    ///
    /// # Errors
    /// It asks for what cannot be done: nothing was changed.
    pub(crate) fn deploy(
        self: &Arc<Self>,
        stack: &Stack,
        template: &StackTemplate,
        order: &StackOrder,
    ) -> Result<Deployed, ApplyError> {
        let now = wall_clock::now();
        let source = self.seal_source(&stack.id, template)?;
        let present = self.registry().stacks.get(&stack.name).cloned();
        let made_from = present.as_ref().and_then(|present| self.open_source(&present.id, &present.source));
        let before = made_from.as_ref().and_then(|made_from| self.resolve_stack(&stack.name, made_from).ok());
        let same_source = made_from.as_ref() == Some(template);

        let mut make_authority = |arn: &Arn, body: &acmpca::CertificateAuthority| {
            self.authorities()
                .create_for_template(arn, body, now)
                .map_err(|error| ApplyError::Authority(Box::new(error)))
        };
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gateway_address =
            |port: u16, taken: &BTreeSet<SocketAddr>| gateway_address(port, taken, &mut reserved);
        let mut context = ApplyContext {
            now,
            by: order.by.clone(),
            vault: Vault::new(self.authorities().master_key()),
            make_authority: &mut make_authority,
            authorities: self.authorities(),
            gateway_address: &mut gateway_address,
        };
        // Before the change: tasks that it starts are given them at once.
        let secrets_before = self.secrets();
        self.add_secrets(secrets::of_stack(stack));
        let deployed = self.change(|registry| {
            let (notes, changed) = apply(registry, stack, before.as_ref(), &mut context)?;
            let record = registry.stacks.get(&stack.name).cloned();
            let asks_more = |record: &StackRecord| !same_source || order.back || record.tags != order.tags;
            if let Some(record) = record.filter(|record| changed || asks_more(record)) {
                let record = ordered((*record).clone(), source, order, now);
                registry.stacks.put(stack.name.clone(), record);
            }
            Ok::<_, ApplyError>(Deployed { notes, changed })
        });
        let deployed = deployed.inspect_err(|_| self.set_secrets((*secrets_before).clone()))?;
        self.reload_authorities().map_err(|error| ApplyError::Authority(Box::new(error)))?;
        // Before its tasks write to them.
        self.declare_logs();
        Ok(deployed)
    }

    /// Makes a stack what it was before its update failed.
    pub(crate) fn roll_back(self: &Arc<Self>, name: &str) {
        let Some(record) = self.registry().stacks.get(name).cloned() else { return };
        let rolled_back = (|| {
            let previous = record.previous.as_ref().ok_or("what it was before is not known")?;
            let template =
                self.open_source(&record.id, previous).ok_or("what it was before does not open")?;
            let stack = self.resolve_stack(name, &template).map_err(|faults| faults.to_string())?;
            let order = StackOrder {
                by: self.registry().settings().scope.root_arn(),
                tags: record.tags.clone(),
                capabilities: record.capabilities.clone(),
                back: true,
                ..StackOrder::default()
            };
            self.deploy(&stack, &template, &order).map_err(|error| error.to_string())
        })();
        if let Err(reason) = rolled_back {
            tracing::error!(stack = name, reason, "a stack could not be rolled back");
            let failed = self.change::<_, crate::registry::RegistryError>(|registry| {
                registry.stacks.update(name, |record| {
                    record.set_status(wall_clock::now(), StackStatus::UpdateFailed, Some(reason));
                });
                Ok(())
            });
            if let Err(error) = failed {
                tracing::error!(%error, "the registry could not be changed");
            }
        }
    }

    /// Takes the secrets of the stacks that are kept into memory again, after a restart.
    pub(crate) fn restore_secrets(self: &Arc<Self>) {
        for record in self.registry().stacks.values() {
            let template = self.open_source(&record.id, &record.source);
            if let Some(stack) =
                template.and_then(|template| self.resolve_stack(&record.name, &template).ok())
            {
                self.add_secrets(secrets::of_stack(&stack));
            }
        }
    }

    /// Begins to take a stack down. Whether there is one.
    pub(crate) fn delete_stack(
        &self,
        name: &str,
        request: Option<StackRequest>,
    ) -> Result<bool, crate::registry::RegistryError> {
        let now = wall_clock::now();
        self.change(|registry| {
            let Some(record) = registry.stacks.get(name).cloned() else { return Ok(false) };
            let mut record = (*record).clone();
            record.begin(request);
            record.set_status(now, StackStatus::DeleteInProgress, Some("User Initiated".into()));
            lifecycle::begin_removal(registry, &mut record, now);
            registry.stacks.put(name, record);
            registry.change_sets.retain(|_, change_set| change_set.stack != name);
            Ok(true)
        })
    }
}

/// The record of a stack whose change has just begun.
fn ordered(mut record: StackRecord, source: StackSource, order: &StackOrder, now: Timestamp) -> StackRecord {
    // The record of a change set's new stack has no events of resources before.
    let creates = record.source == StackSource::default();
    record.tags.clone_from(&order.tags);
    record.capabilities.clone_from(&order.capabilities);
    if order.back {
        record.source = source;
        record.previous = None;
        record.status = StackStatus::UpdateRollbackInProgress;
        tell_members(&mut record, now);
        return record;
    }
    record.begin(order.request.clone());
    record.disable_rollback = order.disable_rollback;
    record.delete_on_failure = order.delete_on_failure;
    record.timeout_minutes = order.timeout_minutes;
    record.termination_protection |= order.termination_protection;
    let (status, reason) = if creates {
        record.created_at = now;
        (StackStatus::CreateInProgress, Some("User Initiated".to_owned()))
    } else {
        record.previous = Some(std::mem::take(&mut record.source));
        record.updated_at = Some(now);
        (StackStatus::UpdateInProgress, Some("User Initiated".to_owned()))
    };
    record.source = source;
    record.set_status(now, status, reason);
    tell_members(&mut record, now);
    record
}

/// An event for each member that has just begun to change.
fn tell_members(record: &mut StackRecord, now: Timestamp) {
    let members = std::mem::take(&mut record.members);
    let under_way = [ResourceStatus::CreateInProgress, ResourceStatus::UpdateInProgress];
    for member in
        members.iter().filter(|member| under_way.contains(&member.status) && member.updated_at == now)
    {
        record.event(now, Some(member), member.status.name(), None);
    }
    record.members = members;
}

/// What stacks export, but for those named.
fn exports(registry: &Registry, without: &[&str]) -> BTreeMap<String, String> {
    let others = registry.stacks.values().filter(|stack| !without.contains(&stack.name.as_str()));
    others
        .flat_map(|stack| &stack.outputs)
        .filter_map(|output| Some((output.export_name.clone()?, output.value.clone())))
        .collect()
}

/// Every parameter with its value, that of a `NoEcho` one masked.
fn told_parameters(template: &StackTemplate) -> Vec<(String, String)> {
    let files: Vec<_> = template.files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let Ok(read) = Template::parse_many(&files) else { return Vec::new() };
    let parameters = read.parameters().map(|declared| {
        let value = match (declared.no_echo, template.parameters.get(&declared.name)) {
            (true, _) => "****".to_owned(),
            (false, given) => given.cloned().or(declared.default).unwrap_or_default(),
        };
        (declared.name, value)
    });
    parameters.collect()
}

/// The port itself where it is allowed and free; else 8000 above it (443 → 8443,
/// 80 → 8080); else any that is free.
///
/// The address is held in `reserved` against others that look for one at the same time.
fn gateway_address(
    port: u16,
    taken: &BTreeSet<SocketAddr>,
    reserved: &mut Vec<Socket>,
) -> io::Result<SocketAddr> {
    let alternative = match port {
        443 => 8443,
        80 => 8080,
        other => other.saturating_add(8000),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for candidate in [port, alternative, 0] {
        if taken.contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, candidate))) {
            continue;
        }
        match reserve(SocketAddr::from((Ipv4Addr::LOCALHOST, candidate))) {
            Ok((socket, address)) => {
                reserved.push(socket);
                return Ok(address);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Binds an address that nobody else has, without listening: another such attempt fails, while the
/// gateway's shim, which sets SO_REUSEADDR as well, can bind it and listen.
fn reserve(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&address.into())?;
    socket.set_reuse_address(true)?;
    let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket, bound))
}
