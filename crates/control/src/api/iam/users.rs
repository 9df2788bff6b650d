//! Users.

use bowline_aws::{
    iam::{
        CreateUserRequest, Empty, GetUserRequest, ListRequest, ListUsersResponse, UpdateUserRequest, User,
        UserRequest, UserResponse,
    },
    protocol::Fault,
};

use super::{
    check_boundary, check_name, conflict, exists, invalid, limit, not_found, page_of, path, path_prefix,
    tags_of, wire_boundary, wire_tags_if_any,
};
use crate::{
    api::call::{Call, CallerPrincipal, wire},
    iam::{self, Grants, KeyOwner, UserRecord},
    registry::Registry,
};

/// Most users of an account.
const USERS_MAX: usize = 5_000;

pub(super) fn create(call: &Call<'_>, request: CreateUserRequest) -> Result<UserResponse, Fault> {
    let name = request.user_name;
    check_name("userName", &name, 64)?;
    let path = path(request.path)?;
    let tags = tags_of(request.tags)?;
    call.change(|registry| {
        check_free(registry, &name, None)?;
        if registry.iam_users.len() >= USERS_MAX {
            return Err(limit("UsersPerAccount", USERS_MAX));
        }
        if let Some(boundary) = &request.permissions_boundary {
            check_boundary(registry, boundary)?;
        }
        let user = UserRecord {
            id: iam::unique_id("AIDA"),
            arn: iam::arn(&call.scope, "user", &path, &name),
            name: name.clone(),
            path,
            created_at: call.now,
            grants: Grants { boundary: request.permissions_boundary, ..Grants::default() },
            tags,
        };
        let response = UserResponse { user: told(&user) };
        registry.iam_users.put(name, user);
        Ok(response)
    })
}

/// Refuses a name that another user has, in whatever case.
fn check_free(registry: &Registry, name: &str, but: Option<&str>) -> Result<(), Fault> {
    let taken = |user: &UserRecord| Some(&*user.name) != but && user.name.eq_ignore_ascii_case(name);
    match registry.iam_users.values().any(|user| taken(user)) {
        true => Err(exists(format!("User with name {name} already exists."))),
        false => Ok(()),
    }
}

pub(super) fn get(call: &Call<'_>, request: GetUserRequest) -> Result<UserResponse, Fault> {
    let registry = call.registry();
    let name = match (&request.user_name, &call.caller.principal) {
        (Some(name), _) => name.clone(),
        (None, CallerPrincipal::User(name)) => name.clone(),
        (None, CallerPrincipal::Root) => return Ok(UserResponse { user: root(call) }),
        (None, CallerPrincipal::AssumedRole { .. }) => {
            return Err(invalid("Must specify userName when calling with non-User credentials"));
        }
    };
    let user = registry.iam_users.get(&name).ok_or_else(|| not_found("user", &name))?;
    Ok(UserResponse { user: told(user) })
}

/// The root user as AWS tells it: by the account's id, without a name.
fn root(call: &Call<'_>) -> User {
    User {
        path: "/".into(),
        user_name: String::new(),
        user_id: call.scope.account_id.clone(),
        arn: call.scope.root_arn(),
        create_date: wire(call.now),
        permissions_boundary: None,
        tags: None,
    }
}

pub(super) fn list(call: &Call<'_>, request: ListRequest) -> Result<ListUsersResponse, Fault> {
    let registry = call.registry();
    let prefix = path_prefix(request.path_prefix)?;
    let users = registry.iam_users.values().filter(|user| user.path.starts_with(&*prefix));
    // Lists tell neither tags nor boundaries.
    let users = users.map(|user| User { permissions_boundary: None, tags: None, ..told(user) }).collect();
    let key = |user: &User| user.user_name.clone();
    let page = page_of("ListUsers", users, key, request.marker.as_deref(), request.max_items)?;
    Ok(ListUsersResponse { users: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) fn update(call: &Call<'_>, request: UpdateUserRequest) -> Result<Empty, Fault> {
    let new_name = request.new_user_name;
    if let Some(name) = &new_name {
        check_name("newUserName", name, 64)?;
    }
    let new_path = request.new_path.map(|given| path(Some(given))).transpose()?;
    call.change(|registry| {
        let old_name = request.user_name;
        let user = registry.iam_users.get(&old_name).ok_or_else(|| not_found("user", &old_name))?;
        let mut user = UserRecord::clone(user);
        if let Some(name) = new_name {
            check_free(registry, &name, Some(&old_name))?;
            user.name = name;
        }
        if let Some(path) = new_path {
            user.path = path;
        }
        user.arn = iam::arn(&call.scope, "user", &user.path, &user.name);
        let owner = KeyOwner::User(user.name.clone());
        for id in keys_of(registry, &old_name) {
            registry.access_keys.update(&id, |key| key.owner = owner.clone());
        }
        registry.iam_users.remove(&old_name);
        registry.iam_users.put(user.name.clone(), user);
        Ok(Empty {})
    })
}

pub(super) fn delete(call: &Call<'_>, request: UserRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let name = request.user_name;
        let user = registry.iam_users.get(&name).ok_or_else(|| not_found("user", &name))?;
        super::permissions::check_none(&user.grants)?;
        if !keys_of(registry, &name).is_empty() {
            return Err(conflict("Cannot delete entity, must delete access keys first."));
        }
        registry.iam_users.remove(&name);
        Ok(Empty {})
    })
}

/// Ids of a user's access keys.
fn keys_of(registry: &Registry, name: &str) -> Vec<String> {
    let owned =
        registry.access_keys.values().filter(|key| matches!(&key.owner, KeyOwner::User(of) if of == name));
    owned.map(|key| key.id.clone()).collect()
}

fn told(user: &UserRecord) -> User {
    User {
        path: user.path.clone(),
        user_name: user.name.clone(),
        user_id: user.id.clone(),
        arn: user.arn.to_string(),
        create_date: wire(user.created_at),
        permissions_boundary: wire_boundary(user.grants.boundary.as_ref()),
        tags: wire_tags_if_any(&user.tags),
    }
}
