//! STS: who one is, and temporary credentials.
//!
//! Source of names, shapes, limits and errors: AWS's STS API reference. What differs: the root
//! user may assume a role whose trust policy names its account; sessions of roles may be as long
//! as the role allows also where a session assumes a role (AWS: an hour).

use std::collections::BTreeMap;

use bowline_aws::{
    iam::Tag,
    protocol::Fault,
    sts::{
        AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, Credentials, GetAccessKeyInfoRequest,
        GetAccessKeyInfoResponse, GetCallerIdentityRequest, GetCallerIdentityResponse,
        GetSessionTokenRequest, GetSessionTokenResponse,
    },
};
use bowline_model::policy::PolicyKind;

use super::{
    authorization::{Denied, demand::Demand},
    call::{Call, Caller, CallerPrincipal, wire},
    constraint,
    iam::invalid,
    operation::{Operation, operation},
};
use crate::{
    credentials::{Session, SessionOf},
    iam::{self as rows, SESSION_SECONDS_DEFAULT, document},
    registry::Registry,
};

/// Most characters of an inline session policy and of the ARNs beside it.
const SESSION_POLICY_CHARACTERS_MAX: usize = 2_048;

/// Most managed policies of a session.
const SESSION_POLICY_ARNS_MAX: usize = 10;

/// Most tags of a session.
const SESSION_TAGS_MAX: usize = 50;

/// Longest session of `GetSessionToken` for a user, in seconds: 36 hours; 12 hours where nothing
/// is asked for.
const SESSION_TOKEN_SECONDS: (i64, i64) = (129_600, 43_200);

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Read, Effective, "AssumeRole", assume_role),
    operation!(Read, Effective, "GetAccessKeyInfo", access_key_info),
    operation!(Read, Effective, "GetCallerIdentity", caller_identity),
    operation!(Read, Effective, "GetSessionToken", session_token),
];

fn caller_identity(call: &Call<'_>, _: GetCallerIdentityRequest) -> Result<GetCallerIdentityResponse, Fault> {
    let Caller { arn, account_id, user_id, .. } = call.caller;
    Ok(GetCallerIdentityResponse { user_id: user_id.clone(), account: account_id.clone(), arn: arn.clone() })
}

fn assume_role(call: &Call<'_>, request: AssumeRoleRequest) -> Result<AssumeRoleResponse, Fault> {
    constraint::length("roleArn", &request.role_arn, 20..=2048).map_err(invalid)?;
    check_word("roleSessionName", &request.role_session_name)?;
    if let Some(identity) = &request.source_identity {
        check_word("sourceIdentity", identity)?;
    }
    if let Some(id) = &request.external_id {
        constraint::length("externalId", id, 2..=1224).map_err(invalid)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
        constraint::characters("externalId", id, "[\\w+=,.@:\\/-]*", allowed).map_err(invalid)?;
    }
    let seconds = request.duration_seconds.unwrap_or(i64::from(SESSION_SECONDS_DEFAULT));
    constraint::range("durationSeconds", seconds, 900..=43_200).map_err(invalid)?;
    let tags = session_tags(&request.tags)?;
    let registry = call.registry();
    let arns = request.policy_arns.iter().filter_map(|policy| policy.arn.clone()).collect();
    let policies = SessionPolicies::check(&registry, request.policy, arns)?;

    let demand = demand(&request.role_arn, &request.role_session_name, &tags)
        .keyed("sts:ExternalId", request.external_id)
        .keyed("sts:SourceIdentity", request.source_identity.clone());
    let role = registry.iam_roles.values().find(|role| role.arn.as_str() == request.role_arn);
    // A role that is not there and one that may not be assumed are refused alike: who exists is
    // nobody's business.
    let role = role.ok_or_else(|| {
        denied(&Denied(format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
            call.caller.arn, request.role_arn
        )))
    })?;
    let authorizer = call.core.authorizer();
    let mut demands = vec![demand];
    if !tags.is_empty() {
        demands.push(Demand { action: "sts:TagSession".into(), ..demands[0].clone() });
    }
    if request.source_identity.is_some() {
        demands.push(Demand { action: "sts:SetSourceIdentity".into(), ..demands[0].clone() });
    }
    for demand in &demands {
        authorizer
            .authorize_assumption(&registry, call.caller, role, demand, call.origin)
            .map_err(|error| denied(&error))?;
    }
    if seconds > i64::from(role.max_session_seconds) {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let of = SessionOf::Role {
        name: role.name.clone(),
        id: role.id.clone(),
        session_name: request.role_session_name.clone(),
    };
    // A session's identity goes on to the sessions that it starts.
    let inherited = call.caller.session.as_ref().and_then(|session| session.source_identity.clone());
    let source_identity = inherited.or(request.source_identity);
    let packed_policy_size = policies.per_cent();
    let credentials = issue(call, of, seconds, policies, tags, source_identity.clone())?;
    let session =
        Caller::assumed_role(&call.scope, role, &request.role_session_name, &credentials.access_key_id);
    Ok(AssumeRoleResponse {
        credentials,
        assumed_role_user: AssumedRoleUser { assumed_role_id: session.user_id, arn: session.arn },
        packed_policy_size,
        source_identity,
    })
}

fn demand(role_arn: &str, session_name: &str, tags: &BTreeMap<String, String>) -> Demand {
    let mut keys = vec![("sts:RoleSessionName".to_owned(), vec![session_name.to_owned()])];
    for (key, value) in tags {
        keys.push((format!("aws:RequestTag/{key}"), vec![value.clone()]));
    }
    if !tags.is_empty() {
        keys.push(("aws:TagKeys".to_owned(), tags.keys().cloned().collect()));
    }
    Demand { keys, ..Demand::new("sts:AssumeRole", role_arn) }
}

impl Demand {
    fn keyed(mut self, key: &str, value: Option<String>) -> Self {
        self.keys.extend(value.map(|value| (key.to_owned(), vec![value])));
        self
    }
}

fn session_token(call: &Call<'_>, request: GetSessionTokenRequest) -> Result<GetSessionTokenResponse, Fault> {
    if call.caller.session.is_some() {
        return Err(denied(&Denied("Cannot call GetSessionToken with session credentials".into())));
    }
    let (most, default) = SESSION_TOKEN_SECONDS;
    let seconds = request.duration_seconds.unwrap_or(default);
    constraint::range("durationSeconds", seconds, 900..=most).map_err(invalid)?;
    let registry = call.registry();
    let (of, seconds) = match &call.caller.principal {
        // AWS gives root's sessions an hour at most.
        CallerPrincipal::Root => (SessionOf::Root, seconds.min(3_600)),
        CallerPrincipal::User(name) => {
            let user = registry.iam_users.get(name).ok_or_else(|| {
                Fault::new("InvalidClientTokenId", "The security token included in the request is invalid.")
                    .with_status(403)
            })?;
            (SessionOf::User { name: name.clone(), id: user.id.clone() }, seconds)
        }
        CallerPrincipal::AssumedRole { .. } => {
            return Err(denied(&Denied("Cannot call GetSessionToken with session credentials".into())));
        }
    };
    let credentials = issue(call, of, seconds, SessionPolicies::default(), BTreeMap::new(), None)?;
    Ok(GetSessionTokenResponse { credentials })
}

fn access_key_info(
    call: &Call<'_>,
    request: GetAccessKeyInfoRequest,
) -> Result<GetAccessKeyInfoResponse, Fault> {
    let id = &request.access_key_id;
    constraint::length("accessKeyId", id, 16..=128).map_err(invalid)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    constraint::characters("accessKeyId", id, "[\\w]*", allowed).map_err(invalid)?;
    // There is one account, whose key it must be.
    Ok(GetAccessKeyInfoResponse { account: call.scope.account_id.clone() })
}

/// What limits a session.
#[derive(Default)]
struct SessionPolicies {
    inline: Option<String>,
    arns: Vec<String>,
}

impl SessionPolicies {
    fn check(registry: &Registry, inline: Option<String>, arns: Vec<String>) -> Result<Self, Fault> {
        if arns.len() > SESSION_POLICY_ARNS_MAX {
            return Err(invalid(format!("policyArns can have at most {SESSION_POLICY_ARNS_MAX} items.")));
        }
        for arn in &arns {
            if rows::managed_document(registry, arn).is_none() {
                return Err(invalid(format!("Policy {arn} does not exist.")));
            }
        }
        let policies = Self { inline, arns };
        if policies.characters() > SESSION_POLICY_CHARACTERS_MAX {
            return Err(Fault::new(
                "PackedPolicyTooLarge",
                format!("The session policies are longer than {SESSION_POLICY_CHARACTERS_MAX} characters."),
            ));
        }
        if let Some(document) = &policies.inline {
            document::check(PolicyKind::Identity, document, SESSION_POLICY_CHARACTERS_MAX)?;
        }
        Ok(policies)
    }

    fn characters(&self) -> usize {
        let inline = self.inline.as_deref().map_or(0, |document| document.chars().count());
        inline + self.arns.iter().map(String::len).sum::<usize>()
    }

    fn per_cent(&self) -> Option<usize> {
        let characters = self.characters();
        (characters > 0).then(|| (characters * 100).div_ceil(SESSION_POLICY_CHARACTERS_MAX))
    }
}

fn issue(
    call: &Call<'_>,
    of: SessionOf,
    seconds: i64,
    policies: SessionPolicies,
    tags: BTreeMap<String, String>,
    source_identity: Option<String>,
) -> Result<Credentials, Fault> {
    let lasting = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let expires_at = call.now + lasting;
    let made = call.core.credentials().make_session(|secret| Session {
        secret,
        of,
        issued_at: call.now,
        expires_at,
        policy: policies.inline,
        policy_arns: policies.arns,
        tags,
        source_identity,
    });
    let (access_key_id, secret, session_token) = made.map_err(|error| {
        tracing::error!(%error, "temporary credentials could not be made");
        Fault::new("InternalFailure", "The credentials could not be made.").with_status(500)
    })?;
    if session_token.len() > bowline_aws::sigv4::SECURITY_TOKEN_BYTES_MAX {
        return Err(Fault::new("PackedPolicyTooLarge", "The session policies and tags are too long."));
    }
    Ok(Credentials {
        access_key_id,
        secret_access_key: (*secret).clone(),
        session_token,
        expiration: wire(expires_at),
    })
}

fn check_word(member: &str, value: &str) -> Result<(), Fault> {
    constraint::length(member, value, 2..=64).map_err(invalid)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    constraint::characters(member, value, "[\\w+=,.@-]*", allowed).map_err(invalid)
}

fn session_tags(tags: &[Tag]) -> Result<BTreeMap<String, String>, Fault> {
    constraint::items("tags", tags.len(), 0..=SESSION_TAGS_MAX).map_err(invalid)?;
    for tag in tags {
        constraint::length("tags.member.key", &tag.key, 1..=128).map_err(invalid)?;
        constraint::length("tags.member.value", &tag.value, 0..=256).map_err(invalid)?;
    }
    let map: BTreeMap<_, _> = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
    match map.len() == tags.len() {
        true => Ok(map),
        false => Err(Fault::new("InvalidParameterValue", "Duplicate tag keys found.")),
    }
}

fn denied(error: &Denied) -> Fault {
    Fault::new("AccessDenied", error.0.clone()).with_status(403)
}
