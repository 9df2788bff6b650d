//! A CloudFormation stack as it is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use bowline_aws::cfn::Output;
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};

/// Most events of a stack that are kept.
pub const EVENTS_MAX: usize = 500;

/// Most tokens of requests that are kept of a stack.
pub const REQUESTS_MAX: usize = 100;

/// A stack: what it was made from, what it made, and where it is in its life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackRecord {
    /// The name.
    pub name: String,
    /// The ARN.
    pub id: String,
    /// `Description`.
    pub description: Option<String>,
    /// Where it is in its life.
    pub status: StackStatus,
    /// Why it is there.
    pub status_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last asked to change.
    pub updated_at: Option<Timestamp>,
    /// When it was gone.
    pub deleted_at: Option<Timestamp>,
    /// What it was made from.
    pub source: StackSource,
    /// What it was made from before the update that is under way: a failed one goes back to it.
    pub previous: Option<StackSource>,
    /// Whether a failed creation is left as it is.
    pub disable_rollback: bool,
    /// Whether a failed creation deletes the stack, not only its resources.
    #[serde(default)]
    pub delete_on_failure: bool,
    /// How long a creation or update may take. Minutes; CloudFormation's own patience with an ECS
    /// service is three hours.
    pub timeout_minutes: Option<u32>,
    /// `DeleteStack` is refused.
    pub termination_protection: bool,
    /// `Tags`.
    pub tags: BTreeMap<String, String>,
    /// `Capabilities` that were acknowledged.
    pub capabilities: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// Its resources, in the order of their creation.
    pub members: Vec<StackMember>,
    /// What happened, the newest last, at most [`EVENTS_MAX`].
    pub events: Vec<StackEvent>,
    /// Table and key of each resource that has a row.
    pub resources: BTreeSet<(String, String)>,
    /// Local commands of the containers, by task-definition family and container.
    pub local_commands: Vec<LocalCommandRecord>,
    /// What was asked with a `ClientRequestToken`, the newest last, at most [`REQUESTS_MAX`].
    #[serde(default)]
    pub requests: Vec<StackRequest>,
    /// The token of what is, or was last, under way.
    #[serde(default)]
    pub token: Option<String>,
}

/// A request with a `ClientRequestToken`: the same again is the same request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRequest {
    /// The token.
    pub token: String,
    /// The operation's name; of `ExecuteChangeSet`, the change set's ARN too.
    pub asked: String,
}

/// What a stack was made from. Sealed: templates and parameters hold secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackSource {
    /// The template and its parameters, sealed under the master key and the stack's id.
    pub sealed: Vec<u8>,
    /// Parameters, the values of `NoEcho` ones masked.
    pub parameters: Vec<(String, String)>,
}

/// What [`StackSource::sealed`] holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackTemplate {
    /// Name and text of each file.
    pub files: Vec<(String, String)>,
    /// Parameters that were given.
    pub parameters: BTreeMap<String, String>,
}

/// A resource of a stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackMember {
    /// Its name in the template.
    pub logical_id: String,
    /// What `Ref` yields.
    pub physical_id: String,
    /// `AWS::ECS::Service` and the like.
    pub resource_type: String,
    /// Where it is in its life.
    pub status: ResourceStatus,
    /// Why it is there.
    pub reason: Option<String>,
    /// Since when.
    pub updated_at: Timestamp,
}

/// Something that happened to a stack or to a resource of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackEvent {
    /// A number, unique in the stack.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The resource, or the stack's own name.
    pub logical_id: String,
    /// What `Ref` yields, or the stack's id.
    pub physical_id: String,
    /// Its type; `AWS::CloudFormation::Stack` for the stack itself.
    pub resource_type: String,
    /// `CREATE_IN_PROGRESS`, …
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// The `ClientRequestToken` of the request that it follows from.
    #[serde(default)]
    pub token: Option<String>,
}

/// CloudFormation's status of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // AWS's own words
pub enum StackStatus {
    #[default]
    CreateInProgress,
    CreateComplete,
    CreateFailed,
    RollbackInProgress,
    RollbackComplete,
    UpdateInProgress,
    UpdateComplete,
    UpdateFailed,
    UpdateRollbackInProgress,
    UpdateRollbackComplete,
    DeleteInProgress,
    DeleteComplete,
    /// A change set of type `CREATE` waits to be executed.
    ReviewInProgress,
}

impl StackStatus {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateInProgress => "CREATE_IN_PROGRESS",
            Self::CreateComplete => "CREATE_COMPLETE",
            Self::CreateFailed => "CREATE_FAILED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackComplete => "ROLLBACK_COMPLETE",
            Self::UpdateInProgress => "UPDATE_IN_PROGRESS",
            Self::UpdateComplete => "UPDATE_COMPLETE",
            Self::UpdateFailed => "UPDATE_FAILED",
            Self::UpdateRollbackInProgress => "UPDATE_ROLLBACK_IN_PROGRESS",
            Self::UpdateRollbackComplete => "UPDATE_ROLLBACK_COMPLETE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
            Self::DeleteComplete => "DELETE_COMPLETE",
            Self::ReviewInProgress => "REVIEW_IN_PROGRESS",
        }
    }

    /// Something is under way.
    pub fn in_progress(self) -> bool {
        self.name().ends_with("IN_PROGRESS") && self != Self::ReviewInProgress
    }

    /// An update may begin.
    pub fn can_update(self) -> bool {
        matches!(self, Self::CreateComplete | Self::UpdateComplete | Self::UpdateRollbackComplete)
    }
}

/// CloudFormation's status of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // AWS's own words
pub enum ResourceStatus {
    CreateInProgress,
    CreateComplete,
    CreateFailed,
    UpdateInProgress,
    UpdateComplete,
    UpdateFailed,
    DeleteInProgress,
    DeleteComplete,
}

impl ResourceStatus {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateInProgress => "CREATE_IN_PROGRESS",
            Self::CreateComplete => "CREATE_COMPLETE",
            Self::CreateFailed => "CREATE_FAILED",
            Self::UpdateInProgress => "UPDATE_IN_PROGRESS",
            Self::UpdateComplete => "UPDATE_COMPLETE",
            Self::UpdateFailed => "UPDATE_FAILED",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
            Self::DeleteComplete => "DELETE_COMPLETE",
        }
    }
}

/// What runs in place of a container's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCommandRecord {
    /// The task definition's family; `None` matches every one.
    pub family: Option<String>,
    /// The container's name.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it runs.
    pub working_directory: Option<PathBuf>,
    /// More environment.
    pub environment: BTreeMap<String, String>,
}

/// A change set: a change that was worked out and not carried out yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSetRecord {
    /// The ARN.
    pub id: String,
    /// The name, unique in the stack.
    pub name: String,
    /// The stack's name.
    pub stack: String,
    /// Whether it makes the stack.
    pub creates: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// `Description`.
    pub description: Option<String>,
    /// What the stack is to be made from, sealed under the change set's id.
    pub source: StackSource,
    /// `Tags`.
    pub tags: BTreeMap<String, String>,
    /// `Capabilities`.
    pub capabilities: Vec<String>,
    /// What would change.
    pub changes: Vec<ResourceChange>,
    /// Why it cannot be executed.
    pub failure: Option<String>,
    /// Whether it was executed.
    pub executed: bool,
    /// Whether a failed creation is left as it is.
    pub disable_rollback: bool,
    /// Whether a failed creation deletes the stack, not only its resources.
    #[serde(default)]
    pub delete_on_failure: bool,
}

/// A resource that a change set would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceChange {
    /// `Add`, `Modify` or `Remove`.
    pub action: String,
    /// Its name in the template.
    pub logical_id: String,
    /// What `Ref` yields; none for one that is not there yet.
    pub physical_id: Option<String>,
    /// Its type.
    pub resource_type: String,
}

impl StackRecord {
    /// Notes that a change begins, and the token that it was asked with.
    pub(crate) fn begin(&mut self, request: Option<StackRequest>) {
        self.token = request.as_ref().map(|request| request.token.clone());
        self.requests.extend(request);
        let surplus = self.requests.len().saturating_sub(REQUESTS_MAX);
        self.requests.drain(..surplus);
    }

    /// Notes that something happened, to the stack itself where `member` is none.
    pub(crate) fn event(
        &mut self,
        at: Timestamp,
        member: Option<&StackMember>,
        status: &str,
        reason: Option<String>,
    ) {
        let number = self.events.last().map_or(1, |last| last.number + 1);
        let (logical_id, physical_id, resource_type) = match member {
            Some(member) => {
                (member.logical_id.clone(), member.physical_id.clone(), member.resource_type.clone())
            }
            None => (self.name.clone(), self.id.clone(), "AWS::CloudFormation::Stack".to_owned()),
        };
        self.events.push(StackEvent {
            number,
            at,
            logical_id,
            physical_id,
            resource_type,
            status: status.to_owned(),
            reason,
            token: self.token.clone(),
        });
        let surplus = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..surplus);
    }

    /// Puts the stack where it is now in its life, with the event that says so.
    pub(crate) fn set_status(&mut self, at: Timestamp, status: StackStatus, reason: Option<String>) {
        self.status = status;
        self.status_reason.clone_from(&reason);
        self.event(at, None, status.name(), reason);
    }

    /// Puts members that are in one of `from` into `to`, with an event each.
    pub(crate) fn move_members(
        &mut self,
        at: Timestamp,
        to: ResourceStatus,
        which: impl Fn(&StackMember) -> bool,
    ) {
        let mut members = std::mem::take(&mut self.members);
        for member in members.iter_mut().filter(|member| which(member)) {
            member.status = to;
            member.reason = None;
            member.updated_at = at;
            self.event(at, Some(member), to.name(), None);
        }
        self.members = members;
    }

    /// The services that it made.
    pub(crate) fn services(&self) -> impl Iterator<Item = Arn> {
        self.keys_of("services")
    }

    /// The load balancers that it made.
    pub(crate) fn load_balancers(&self) -> impl Iterator<Item = Arn> {
        self.keys_of("load-balancers")
    }

    fn keys_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = Arn> + 'a {
        self.resources.iter().filter(move |(of, _)| of == table).filter_map(|(_, key)| key.parse().ok())
    }
}
