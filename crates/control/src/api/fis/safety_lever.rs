//! The safety lever.

use bowline_aws::{
    fis::{IdRequest, SafetyLever, SafetyLeverResponse, SafetyLeverState, UpdateSafetyLeverStateRequest},
    protocol::Fault,
};

use crate::{
    api::call::Call,
    fis::experiments::{self, SAFETY_LEVER},
    registry::Registry,
};

fn told(call: &Call<'_>, registry: &Registry) -> SafetyLeverResponse {
    let state = SafetyLeverState {
        status: experiments::lever_status(registry),
        reason: experiments::lever(registry).reason,
    };
    let arn = call.scope.arn("fis", format_args!("safety-lever/{SAFETY_LEVER}")).to_string();
    SafetyLeverResponse { safety_lever: SafetyLever { id: SAFETY_LEVER.to_owned(), arn, state } }
}

pub(super) fn get(call: &Call<'_>, request: IdRequest) -> Result<SafetyLeverResponse, Fault> {
    experiments::check_lever(&request.id)?;
    Ok(told(call, &call.registry()))
}

pub(super) fn update(
    call: &Call<'_>,
    request: UpdateSafetyLeverStateRequest,
) -> Result<SafetyLeverResponse, Fault> {
    call.change(|registry| {
        experiments::move_lever(registry, &request.id, request.state.status, request.state.reason)?;
        Ok(told(call, registry))
    })
}
