//! FIS's experiments on the running Bowline: a template as people write it down, made, started and followed.

use anyhow::{Context, bail};
use bowline_chaos::system::{AwsCall, System};
use serde_json::{Value, json};

use super::{aws, system::LiveSystem};

/// Longest template that is read, bytes: what FIS takes, and room for spaces.
pub(crate) const TEMPLATE_MAX: u64 = 1 << 20;

/// What stands in for what a template leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filling {
    /// The region, in place of `region`.
    pub(crate) region: String,
    /// The account, in place of `account-id`.
    pub(crate) account: String,
    /// A task's ARN, in place of one of `task/cluster/task-id`.
    pub(crate) task: Option<String>,
    /// An alarm's ARN, in place of one of `alarm:alarm-name`.
    pub(crate) alarm: Option<String>,
}

/// Fills in what a template leaves open: `region` and `account-id` in ARNs, the task `task/cluster/task-id`, the alarm
/// `alarm-name`, and a target's `selectionMode`, without which the AWS CLI takes none. Tells what was left out.
///
/// # Errors
/// A task is left open, and none was named.
pub(crate) fn fill(template: &mut Value, filling: &Filling) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    if let Some(targets) = template.get_mut("targets").and_then(Value::as_object_mut) {
        for target in targets.values_mut().filter_map(Value::as_object_mut) {
            target.entry("selectionMode").or_insert_with(|| "ALL".into());
        }
    }
    if let Some(conditions) = template.get_mut("stopConditions").and_then(Value::as_array_mut) {
        for condition in conditions {
            let is_open = condition["value"].as_str().is_some_and(|arn| {
                // The second is how it is written down, though no alarm's ARN is so.
                arn.ends_with(":alarm:alarm-name") || arn.ends_with(":alarm/alarm-name")
            });
            match (&filling.alarm, is_open) {
                (_, false) => {}
                (Some(alarm), true) => condition["value"] = alarm.as_str().into(),
                (None, true) => {
                    notes.push(
                        "the alarm alarm-name is left out as a stop condition: name one with --alarm".into(),
                    );
                    *condition = json!({ "source": "none" });
                }
            }
        }
    }
    fill_arns(template, filling)?;
    Ok(notes)
}

fn fill_arns(value: &mut Value, filling: &Filling) -> anyhow::Result<()> {
    match value {
        Value::String(text) if text.starts_with("arn:") => {
            let mut parts: Vec<&str> = text.splitn(6, ':').collect();
            let [_, _, service, region, account, resource] = &mut parts[..] else { return Ok(()) };
            if *service == "ecs" && *resource == "task/cluster/task-id" {
                let task = filling.task.clone();
                *text = task.context("the template leaves the task open (task-id): name one with --task")?;
                return Ok(());
            }
            if *region == "region" {
                *region = &filling.region;
            }
            if *account == "account-id" {
                *account = &filling.account;
            }
            *text = parts.join(":");
            Ok(())
        }
        Value::Array(values) => values.iter_mut().try_for_each(|value| fill_arns(value, filling)),
        Value::Object(fields) => fields.values_mut().try_for_each(|value| fill_arns(value, filling)),
        _ => Ok(()),
    }
}

/// FIS of a running Bowline.
#[derive(Debug)]
pub(crate) struct Fis<'a> {
    system: &'a LiveSystem,
    endpoint: String,
    region: String,
}

impl<'a> Fis<'a> {
    /// That of this one.
    pub(crate) async fn of(system: &'a LiveSystem, region: &str) -> anyhow::Result<Self> {
        let endpoint = system.topology().await?.endpoint;
        Ok(Self { system, endpoint, region: region.to_owned() })
    }

    async fn ask(&self, method: &str, path: &str, input: Option<&Value>) -> anyhow::Result<Value> {
        aws::rest(&self.endpoint, &self.region, "fis", (method, path), input).await
    }

    /// The ARN of a task: given by its id or its beginning, its ARN, or a service's name for its first healthy task.
    pub(crate) async fn task_arn(&self, given: &str) -> anyhow::Result<String> {
        let mesh = self.system.mesh().await?;
        let id = given.rsplit('/').next().unwrap_or(given);
        let of_service = mesh.service(given).and_then(|service| Some((service, service.healthy().next()?)));
        let by_id = || {
            let tasks = mesh.services.iter().flat_map(|it| it.tasks.iter().map(move |task| (it, task)));
            tasks.into_iter().find(|(_, task)| task.id.as_str().starts_with(id))
        };
        let (service, task) =
            of_service.or_else(by_id).with_context(|| format!("there is no task {given:?}"))?;
        let listed =
            self.system.aws(AwsCall::ecs("ListTasks", json!({ "cluster": service.cluster }))).await?;
        let arns = listed["taskArns"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut found = arns.filter(|arn| arn.ends_with(task.id.as_str()));
        found.next().map(str::to_owned).with_context(|| format!("the task {} is gone", task.id))
    }

    /// Makes an experiment template: its id.
    pub(crate) async fn create(&self, template: &Value) -> anyhow::Result<String> {
        let made = self.ask("POST", "/experimentTemplates", Some(template)).await?;
        text(&made["experimentTemplate"]["id"])
    }

    /// Starts an experiment of a template: its id.
    pub(crate) async fn start(&self, template: &str) -> anyhow::Result<String> {
        let input = json!({ "clientToken": token()?, "experimentTemplateId": template });
        let started = self.ask("POST", "/experiments", Some(&input)).await?;
        text(&started["experiment"]["id"])
    }

    /// An experiment.
    pub(crate) async fn experiment(&self, id: &str) -> anyhow::Result<Value> {
        Ok(self.ask("GET", &format!("/experiments/{id}"), None).await?["experiment"].take())
    }

    /// Has an experiment end.
    pub(crate) async fn stop(&self, id: &str) -> anyhow::Result<()> {
        self.ask("DELETE", &format!("/experiments/{id}"), None).await.map(drop)
    }
}

/// A word by which FIS knows a request that is sent again.
pub(crate) fn token() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no randomness from the system")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn text(value: &Value) -> anyhow::Result<String> {
    match value.as_str() {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(text.to_owned()),
        _ => bail!("FIS named no id"),
    }
}

/// A line on how an experiment stands, and whether it is over and how: `Some(true)` where it was completed.
pub(crate) fn standing(experiment: &Value) -> (String, Option<bool>) {
    let of = |state: &Value| {
        let (status, reason) =
            (state["status"].as_str().unwrap_or("-"), state["reason"].as_str().unwrap_or(""));
        (status.to_owned(), reason.to_owned())
    };
    let (status, reason) = of(&experiment["state"]);
    let actions = experiment["actions"].as_object().into_iter().flatten();
    let actions: Vec<_> =
        actions.map(|(name, action)| format!("{name} {}", of(&action["state"]).0)).collect();
    let over = match status.as_str() {
        "completed" => Some(true),
        "stopped" | "failed" | "cancelled" => Some(false),
        _ => None,
    };
    (format!("{status}: {reason} ({})", actions.join(", ")), over)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference notes have it.
    fn notes() -> Value {
        json!({
            "description": "Certificate Expiry Test on ECS Task",
            "targets": {"EcsTarget": {
                "resourceType": "aws:ecs:task",
                "resourceArns": ["arn:aws:ecs:region:account-id:task/cluster/task-id"],
            }},
            "actions": {"StopTask": {
                "actionId": "aws:ecs:stop-task",
                "parameters": {"force": "true"},
                "targets": {"EcsTarget": "EcsTarget"},
            }},
            "roleArn": "arn:aws:iam::account-id:role/FIS-Experiment-Role",
            "stopConditions": [{
                "source": "aws:cloudwatch:alarm",
                "value": "arn:aws:cloudwatch:region:account-id:alarm/alarm-name",
            }],
        })
    }

    fn filling(task: Option<&str>, alarm: Option<&str>) -> Filling {
        Filling {
            region: "eu-west-1".into(),
            account: "000000000000".into(),
            task: task.map(str::to_owned),
            alarm: alarm.map(str::to_owned),
        }
    }

    #[test]
    fn what_a_template_leaves_open_is_filled_in() {
        let mut template = notes();
        let left_out =
            fill(&mut template, &filling(Some("arn:aws:ecs:x:y:task/c/1"), None)).expect("it is filled");
        assert_eq!(left_out.len(), 1);
        assert_eq!(template["targets"]["EcsTarget"]["resourceArns"][0], "arn:aws:ecs:x:y:task/c/1");
        assert_eq!(template["targets"]["EcsTarget"]["selectionMode"], "ALL");
        assert_eq!(template["roleArn"], "arn:aws:iam::000000000000:role/FIS-Experiment-Role");
        assert_eq!(template["stopConditions"], json!([{"source": "none"}]));

        let mut template = notes();
        let alarm = "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:high";
        assert!(fill(&mut template, &filling(None, Some(alarm))).is_err(), "which task?");
        let left_out = fill(&mut template, &filling(Some("arn:aws:ecs:x:y:task/c/1"), Some(alarm)));
        assert_eq!(left_out.expect("it is filled"), [""; 0]);
        assert_eq!(template["stopConditions"][0]["value"], alarm);
    }

    #[test]
    fn what_is_filled_in_already_stays() {
        let mut template = notes();
        let ready = "arn:aws:ecs:us-east-1:111122223333:task/c/2";
        template["targets"]["EcsTarget"]["resourceArns"][0] = ready.into();
        template["targets"]["EcsTarget"]["selectionMode"] = "COUNT(1)".into();
        template["stopConditions"][0]["value"] = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:a".into();
        let whole = template.clone();
        fill(&mut template, &filling(None, None)).expect("nothing is open but the account");
        assert_eq!(template["targets"], whole["targets"]);
        assert_eq!(template["stopConditions"], whole["stopConditions"]);
    }

    #[test]
    fn it_is_told_how_an_experiment_stands() {
        let at = |status: &str| {
            let experiment = json!({
                "state": {"status": status, "reason": "R."},
                "actions": {"A": {"state": {"status": "running"}}},
            });
            standing(&experiment)
        };
        assert_eq!(at("running"), ("running: R. (A running)".to_owned(), None));
        assert_eq!((at("completed").1, at("failed").1), (Some(true), Some(false)));
    }
}
