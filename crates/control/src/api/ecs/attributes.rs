//! Attributes of container instances. They are kept and told: with one machine there is nothing
//! to choose by them.

use bowline_aws::{
    ecs::api::{
        Attribute, AttributeTarget, AttributesRequest, AttributesResponse, ListAttributesRequest,
        ListAttributesResponse,
    },
    protocol::Fault,
};

use super::{arn_in_cluster, container_instances, find_cluster, invalid, page_of};
use crate::{
    api::{call::Call, constraint},
    ecs::instance::{ATTRIBUTES_MAX, ContainerInstanceRecord, InstanceStatus},
    registry::{Cluster, Registry},
};

/// Refuses names and values that ECS would.
pub(super) fn check(attributes: &[Attribute]) -> Result<(), Fault> {
    for attribute in attributes {
        let name = attribute.name.as_str();
        constraint::length("attributes.name", name, 1..=128).map_err(invalid)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
        if !name.chars().all(plain) {
            return Err(invalid(format!(
                "Invalid attribute name {name:?}: letters, numbers and -_./\\ are allowed."
            )));
        }
        if name.starts_with("ecs.") {
            return Err(invalid(format!("Invalid attribute name {name:?}: the prefix ecs. is ECS's own.")));
        }
        let value = attribute.value.as_deref().unwrap_or_default();
        constraint::length("attributes.value", value, 0..=128).map_err(invalid)?;
        if !value.chars().all(|c| plain(c) || "@: ".contains(c)) || value.trim() != value {
            return Err(invalid(format!(
                "Invalid attribute value {value:?}: letters, numbers, -_./\\@: and spaces within are allowed."
            )));
        }
    }
    Ok(())
}

/// Refuses more attributes than AWS keeps.
pub(super) fn check_limit(instance: &ContainerInstanceRecord) -> Result<(), Fault> {
    match instance.attributes.len() > ATTRIBUTES_MAX {
        true => Err(Fault::new(
            "AttributeLimitExceededException",
            format!("A container instance can have at most {ATTRIBUTES_MAX} custom attributes."),
        )),
        false => Ok(()),
    }
}

/// The container instance that an attribute names.
fn target(registry: &Registry, cluster: &Cluster, attribute: &Attribute) -> Result<String, Fault> {
    let given = attribute.target_id.as_deref().unwrap_or_default();
    if given.is_empty() {
        return Err(invalid("targetId is needed: the attribute's container instance, by its id or ARN."));
    }
    match attribute.target_type.as_deref() {
        Some("container-instance") => {}
        None if arn_in_cluster("container-instance", given, cluster)
            .is_some_and(|_| given.starts_with("arn:")) => {}
        _ => return Err(invalid("targetType must be container-instance where targetId is no ARN.")),
    }
    container_instances::find(registry, cluster, given)
        .ok()
        .filter(|instance| instance.status != InstanceStatus::Inactive)
        .map(|instance| instance.arn.to_string())
        .ok_or_else(|| {
            Fault::new("TargetNotFoundException", format!("The specified target {given} was not found."))
        })
}

/// The attribute with its target's ARN.
fn told(attribute: &Attribute, target: String) -> Attribute {
    Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        target_type: Some("container-instance".into()),
        target_id: Some(target),
    }
}

pub(super) fn put(call: &Call<'_>, request: AttributesRequest) -> Result<AttributesResponse, Fault> {
    constraint::items("attributes", request.attributes.len(), 1..=ATTRIBUTES_MAX).map_err(invalid)?;
    check(&request.attributes)?;
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let mut attributes = Vec::new();
        for attribute in &request.attributes {
            attributes.push(told(attribute, target(registry, &cluster, attribute)?));
            let changed = container_instances::change(registry, &cluster, |instance| {
                instance.attributes.insert(attribute.name.clone(), attribute.value.clone());
            });
            changed.iter().try_for_each(|instance| check_limit(instance))?;
        }
        Ok(AttributesResponse { attributes })
    })
}

pub(super) fn delete(call: &Call<'_>, request: AttributesRequest) -> Result<AttributesResponse, Fault> {
    constraint::items("attributes", request.attributes.len(), 1..=ATTRIBUTES_MAX).map_err(invalid)?;
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let mut attributes = Vec::new();
        for attribute in &request.attributes {
            attributes.push(told(attribute, target(registry, &cluster, attribute)?));
            container_instances::change(registry, &cluster, |instance| {
                let wanted = attribute.value.as_ref();
                // With a value, only that value of it goes.
                if instance
                    .attributes
                    .get(&attribute.name)
                    .is_some_and(|present| wanted.is_none() || present.as_ref() == wanted)
                {
                    instance.attributes.remove(&attribute.name);
                }
            });
        }
        Ok(AttributesResponse { attributes })
    })
}

pub(super) fn list(call: &Call<'_>, request: ListAttributesRequest) -> Result<ListAttributesResponse, Fault> {
    let AttributeTarget::ContainerInstance = request.target_type;
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    if request.attribute_value.is_some() && request.attribute_name.is_none() {
        return Err(invalid("attributeName is needed with attributeValue."));
    }
    let present = registry.container_instances.get(&cluster.name);
    let there = present.filter(|instance| instance.status != InstanceStatus::Inactive);
    let attributes = there.into_iter().flat_map(|instance| {
        let attributes = container_instances::told_attributes(&registry, instance);
        attributes.into_iter().map(|attribute| told(&attribute, instance.arn.to_string()))
    });
    let attributes = attributes
        .filter(|one| request.attribute_name.as_ref().is_none_or(|wanted| *wanted == one.name))
        .filter(|one| request.attribute_value.is_none() || one.value == request.attribute_value)
        .collect();
    let page = page_of(
        "ListAttributes",
        attributes,
        |attribute| attribute.name.clone(),
        request.next_token.as_deref(),
        request.max_results.or(Some(100)),
        100,
    )?;
    Ok(ListAttributesResponse { attributes: page.items, next_token: page.next_token })
}
