//! Rotation: recorded, and told. Nothing here runs functions.

use bowline_aws::{
    protocol::Fault,
    secretsmanager::{RotateSecretRequest, SecretIdRequest, SecretReference},
};

use super::{invalid, secrets::reference};
use crate::{
    api::{call::Call, constraint},
    secrets::{PENDING, commands},
};

pub(super) fn rotate(call: &Call<'_>, request: RotateSecretRequest) -> Result<SecretReference, Fault> {
    if let Some(token) = &request.client_request_token {
        constraint::length("clientRequestToken", token, 32..=64).map_err(invalid)?;
    }
    if let Some(function) = &request.rotation_lambda_arn {
        constraint::length("rotationLambdaARN", function, 0..=2_048).map_err(invalid)?;
    }
    call.change(|registry| {
        let secret = commands::change(registry, &request.secret_id, call.now, |secret| {
            let at_once = request.rotate_immediately.unwrap_or(true);
            let (function, rules) = (request.rotation_lambda_arn, request.rotation_rules);
            commands::set_rotation(secret, function, rules, at_once, call.now)
        })?;
        Ok(reference(&secret, None))
    })
}

pub(super) fn cancel(call: &Call<'_>, request: SecretIdRequest) -> Result<SecretReference, Fault> {
    call.change(|registry| {
        let secret = commands::change(registry, &request.secret_id, call.now, |secret| {
            if let Some(rotation) = &mut secret.rotation {
                rotation.enabled = false;
            }
            Ok(())
        })?;
        let pending = secret.version_with(PENDING).map(|(id, _)| id.to_owned());
        Ok(reference(&secret, pending))
    })
}
