//! Operations. Each is over, and was a success, when it is told of.

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::Fault,
    servicediscovery::api::{
        Filter, FilterCondition, GetOperationRequest, GetOperationResponse, ListOperationsResponse,
        ListRequest, Operation as WireOperation, OperationFilterName, OperationStatus, OperationSummary,
    },
};

use super::{check_owner, filters, invalid, page_of};
use crate::{
    api::call::{Call, wire},
    cloud_map::id_of,
    registry::CloudMapOperation,
};

pub(super) fn get(call: &Call<'_>, request: GetOperationRequest) -> Result<GetOperationResponse, Fault> {
    check_owner(call, request.owner_account.as_deref())?;
    let registry = call.registry();
    let operation = registry.cloud_map_operations.get(&request.operation_id).ok_or_else(|| {
        Fault::new("OperationNotFound", format!("there is no operation {:?}", request.operation_id))
    })?;
    let mut targets = BTreeMap::new();
    let kinds = [
        ("NAMESPACE", &operation.namespace),
        ("SERVICE", &operation.service),
        ("INSTANCE", &operation.instance),
    ];
    for (kind, id) in kinds {
        if let Some(id) = id {
            targets.insert(kind, id.clone());
        }
    }
    Ok(GetOperationResponse {
        operation: WireOperation {
            id: operation.id.clone(),
            owner_account: call.scope.account_id.clone(),
            r#type: operation.operation_type,
            status: OperationStatus::Success,
            create_date: wire(operation.at),
            update_date: wire(operation.at),
            targets,
        },
    })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListRequest<OperationFilterName>,
) -> Result<ListOperationsResponse, Fault> {
    for filter in &request.filters {
        let allowed = match filter.name {
            OperationFilterName::NamespaceId | OperationFilterName::ServiceId => {
                [FilterCondition::Eq].as_slice()
            }
            OperationFilterName::Status | OperationFilterName::Type => {
                &[FilterCondition::Eq, FilterCondition::In]
            }
            OperationFilterName::UpdateDate => &[FilterCondition::Between],
        };
        filters::check(filter, allowed)?;
    }
    let registry = call.registry();
    let mut passing = Vec::new();
    for operation in registry.cloud_map_operations.values() {
        let mut passes = true;
        for filter in &request.filters {
            passes &= passes_one(filter, operation)?;
        }
        if passes {
            passing.push(operation);
        }
    }
    // The newest first.
    let page = page_of(
        "ListOperations",
        passing,
        |operation| format!("{:016x}", u64::MAX - operation.sequence),
        request.next_token.as_deref(),
        request.max_results,
    )?;
    let operations = page.items.into_iter();
    let operations = operations
        .map(|operation| OperationSummary { id: operation.id.clone(), status: OperationStatus::Success });
    Ok(ListOperationsResponse { operations: operations.collect(), next_token: page.next_token })
}

fn passes_one(filter: &Filter<OperationFilterName>, operation: &CloudMapOperation) -> Result<bool, Fault> {
    let names = |id: &Option<String>| {
        id.as_deref().is_some_and(|id| filter.values.iter().any(|value| id_of(value) == id))
    };
    Ok(match filter.name {
        OperationFilterName::NamespaceId => names(&operation.namespace),
        OperationFilterName::ServiceId => names(&operation.service),
        OperationFilterName::Status => filters::passes(filter, "SUCCESS"),
        OperationFilterName::Type => filters::passes(filter, operation.operation_type.as_str()),
        OperationFilterName::UpdateDate => {
            let [from, until] = filter.values.as_slice() else { return Ok(false) };
            (seconds(from)?..=seconds(until)?).contains(&operation.at.as_secs_f64())
        }
    })
}

fn seconds(text: &str) -> Result<f64, Fault> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    seconds.ok_or_else(|| invalid("UPDATE_DATE takes two times in seconds since 1970"))
}
