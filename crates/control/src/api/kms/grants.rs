//! Grants.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bowline_aws::{
    kms::{
        CreateGrantRequest, CreateGrantResponse, Empty, GrantListEntry, ListGrantsRequest,
        ListGrantsResponse, ListRetirableGrantsRequest, RetireGrantRequest, RevokeGrantRequest,
    },
    protocol::Fault,
};

use super::{check_key_id, dry, invalid, master, page_of};
use crate::{
    api::{
        authorization::demand,
        call::{Call, wire},
        constraint,
    },
    kms::{
        GRANTS_PER_KEY_MAX, GrantRecord, KeyRecord, KmsError, commands, find,
        grants::{OPERATIONS, OPERATIONS_OF_OTHER_KEYS},
    },
    master_key::MasterKey,
    random,
};

/// Grants of a page, where nothing is said. Source: KMS API reference.
const PAGE: i64 = 50;
const TOKEN_KEY: &str = "kms grant token";
const TOKEN_CONTEXT: &[u8] = b"kms grant token";

/// Key and grant of a token that was given out here.
fn of_token(master: &MasterKey, token: &str) -> Option<(String, String)> {
    let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
    let plain = master.derive(TOKEN_KEY).open(TOKEN_CONTEXT, &sealed).ok()?;
    let text = String::from_utf8(plain).ok()?;
    let (key, grant) = text.split_once(' ')?;
    Some((key.to_owned(), grant.to_owned()))
}

fn token_of(master: &MasterKey, key: &KeyRecord, grant: &str) -> Result<String, KmsError> {
    let plain = format!("{} {grant}", key.id);
    let sealed = master.derive(TOKEN_KEY).seal(TOKEN_CONTEXT, plain.as_bytes());
    sealed.map(|sealed| URL_SAFE_NO_PAD.encode(sealed)).map_err(|_| KmsError::Internal)
}

/// Refuses tokens that were not given out here. Grants hold from the moment that they are made: a token
/// adds nothing to them.
pub(super) fn check_tokens(call: &Call<'_>, tokens: &[String]) -> Result<(), Fault> {
    constraint::items("grantTokens", tokens.len(), 0..=10).map_err(invalid)?;
    match tokens.iter().all(|token| of_token(master(call), token).is_some()) {
        true => Ok(()),
        false => Err(KmsError::GrantToken.into()),
    }
}

fn check_principal(given: &str) -> Result<(), Fault> {
    let parts: Vec<_> = given.splitn(6, ':').collect();
    let is_one = parts.len() == 6
        && parts[0] == "arn"
        && matches!(parts[2], "iam" | "sts")
        && parts[4].len() == 12
        && !parts[5].is_empty();
    match is_one {
        true => Ok(()),
        false => {
            Err(KmsError::InvalidArn(format!("ARN does not refer to a valid principal: {given}")).into())
        }
    }
}

pub(super) fn create(call: &Call<'_>, request: CreateGrantRequest) -> Result<CreateGrantResponse, Fault> {
    check_key_id(&request.key_id)?;
    check_tokens(call, &request.grant_tokens)?;
    if request.grantee_service_principal.is_some() || request.retiring_service_principal.is_some() {
        return Err(invalid("Grants to services are not served here: name a principal of IAM."));
    }
    let Some(grantee) = request.grantee_principal else {
        return Err(invalid("GranteePrincipal is needed."));
    };
    for principal in [Some(&grantee), request.retiring_principal.as_ref()].into_iter().flatten() {
        check_principal(principal)?;
    }
    let operations: std::collections::BTreeSet<_> = request.operations.into_iter().collect();
    if operations.is_empty() {
        return Err(invalid("Operations must have at least one member."));
    }
    for operation in &operations {
        if !OPERATIONS.contains(&operation.as_str()) || OPERATIONS_OF_OTHER_KEYS.contains(&operation.as_str())
        {
            return Err(invalid(format!(
                "{operation} is no operation that a symmetric key can be granted for."
            )));
        }
    }
    if let Some(name) = &request.name {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
        constraint::length("name", name, 1..=256).map_err(invalid)?;
        constraint::characters("name", name, "^[a-zA-Z0-9:/_-]+$", allowed).map_err(invalid)?;
    }
    if let Some(constraints) = &request.constraints {
        for context in [&constraints.encryption_context_equals, &constraints.encryption_context_subset] {
            context.as_ref().map_or(Ok(()), crate::kms::cipher::check_context)?;
        }
    }
    let id: [u8; 32] = random::bytes();
    let grant = GrantRecord {
        id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        name: request.name,
        created_at: call.now,
        grantee,
        retiring: request.retiring_principal,
        operations,
        constraints: request.constraints,
    };
    call.change(|registry| {
        let made = commands::change(registry, &request.key_id, call.now, |key| {
            key.customers()?;
            key.usable()?;
            dry(request.dry_run)?;
            // The same again under the same name is the same grant.
            let same = |other: &&GrantRecord| {
                grant.name.is_some()
                    && GrantRecord { id: grant.id.clone(), created_at: grant.created_at, ..(*other).clone() }
                        == grant
            };
            let id = match key.grants.values().find(same) {
                Some(present) => present.id.clone(),
                None => {
                    if key.grants.len() >= GRANTS_PER_KEY_MAX {
                        return Err(KmsError::Limit(format!(
                            "A key can have at most {GRANTS_PER_KEY_MAX} grants here."
                        )));
                    }
                    key.grants.insert(grant.id.clone(), grant.clone());
                    grant.id.clone()
                }
            };
            Ok(CreateGrantResponse { grant_token: token_of(master(call), key, &id)?, grant_id: id })
        });
        Ok(made?)
    })
}

fn entry(call: &Call<'_>, key: &KeyRecord, grant: &GrantRecord) -> GrantListEntry {
    GrantListEntry {
        key_id: key.arn.to_string(),
        grant_id: grant.id.clone(),
        name: grant.name.clone(),
        creation_date: wire(grant.created_at),
        grantee_principal: grant.grantee.clone(),
        retiring_principal: grant.retiring.clone(),
        issuing_account: call.scope.root_arn(),
        operations: grant.operations.iter().cloned().collect(),
        constraints: grant.constraints.clone(),
    }
}

fn response(
    operation: &str,
    grants: Vec<GrantListEntry>,
    marker: Option<&str>,
    limit: Option<i64>,
) -> Result<ListGrantsResponse, Fault> {
    let key = |grant: &GrantListEntry| format!("{} {}", grant.key_id, grant.grant_id);
    let page = page_of(operation, grants, key, marker, limit, PAGE)?;
    Ok(ListGrantsResponse {
        grants: page.items,
        truncated: page.next_token.is_some(),
        next_marker: page.next_token,
    })
}

pub(super) fn list(call: &Call<'_>, request: ListGrantsRequest) -> Result<ListGrantsResponse, Fault> {
    check_key_id(&request.key_id)?;
    let registry = call.registry();
    let key = find(&registry, &request.key_id, call.now)?;
    key.not_pending()?;
    if let Some(id) = &request.grant_id {
        check_grant_id(id)?;
        key.grants.get(id).ok_or_else(|| no_grant(id))?;
    }
    let wanted = |grant: &&GrantRecord| {
        request.grant_id.as_ref().is_none_or(|id| *id == grant.id)
            && request.grantee_principal.as_ref().is_none_or(|grantee| *grantee == grant.grantee)
            && request.grantee_service_principal.is_none()
    };
    let grants = key.grants.values().filter(wanted).map(|grant| entry(call, key, grant)).collect();
    response("ListGrants", grants, request.marker.as_deref(), request.limit)
}

pub(super) fn list_retirable(
    call: &Call<'_>,
    request: ListRetirableGrantsRequest,
) -> Result<ListGrantsResponse, Fault> {
    let principal = match (request.retiring_principal, request.retiring_service_principal) {
        (Some(principal), None) => principal,
        (None, Some(_)) => return response("ListRetirableGrants", Vec::new(), None, request.limit),
        _ => return Err(invalid("RetiringPrincipal or RetiringServicePrincipal is needed: one of them.")),
    };
    check_principal(&principal)?;
    let registry = call.registry();
    let grants = registry.kms_keys.values().filter(|key| !key.is_gone(call.now)).flat_map(|key| {
        let retirable = |grant: &&GrantRecord| grant.retiring.as_ref() == Some(&principal);
        key.grants.values().filter(retirable).map(|grant| entry(call, key, grant)).collect::<Vec<_>>()
    });
    response("ListRetirableGrants", grants.collect(), request.marker.as_deref(), request.limit)
}

fn no_grant(id: &str) -> KmsError {
    KmsError::NotFound(format!("Grant ID {id} not found"))
}

fn check_grant_id(id: &str) -> Result<(), KmsError> {
    match id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(KmsError::GrantId(format!("Invalid grant ID {id}"))),
    }
}

fn remove(call: &Call<'_>, key_id: &str, grant_id: &str, dry_run: Option<bool>) -> Result<Empty, Fault> {
    check_key_id(key_id)?;
    call.change(|registry| {
        Ok(commands::change(registry, key_id, call.now, |key| {
            check_grant_id(grant_id)?;
            if !key.grants.contains_key(grant_id) {
                return Err(no_grant(grant_id));
            }
            dry(dry_run)?;
            key.grants.remove(grant_id);
            Ok(Empty {})
        })?)
    })
}

pub(super) fn revoke(call: &Call<'_>, request: RevokeGrantRequest) -> Result<Empty, Fault> {
    remove(call, &request.key_id, &request.grant_id, request.dry_run)
}

pub(super) fn retire(call: &Call<'_>, request: RetireGrantRequest) -> Result<Empty, Fault> {
    let (key, grant) = match (request.grant_token, request.key_id, request.grant_id) {
        (Some(token), None, None) => {
            let (key, grant) = of_token(master(call), &token).ok_or(KmsError::GrantToken)?;
            let registry = call.registry();
            let demand = demand::of_retiring(&registry, &call.scope, call.caller, &key, &grant);
            let authorizer = call.core.authorizer();
            authorizer
                .authorize(&registry, call.caller, &[demand], call.origin)
                .map_err(|denied| Fault::new("AccessDeniedException", denied.0))?;
            (key, grant)
        }
        (None, Some(key), Some(grant)) if key.starts_with("arn:") => (key, grant),
        (None, Some(key), Some(_)) => {
            return Err(KmsError::InvalidArn(format!("{key} is no ARN of a key.")).into());
        }
        _ => return Err(invalid("GrantToken is needed, or KeyId and GrantId.")),
    };
    remove(call, &key, &grant, request.dry_run)
}
