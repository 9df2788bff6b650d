//! The actions that experiments are made of, and the resources that they are done to: one table,
//! from which they are listed, and by which templates are checked.
//!
//! Source: AWS FIS user guide, "AWS FIS Actions reference" and "Targets for AWS FIS": the actions on
//! Amazon ECS, `aws:fis:wait` and `aws:cloudwatch:assert-alarm-state`. What another resource than
//! these would be needed for is not here. Those of `bowline:` are Bowline's own.

use std::time::Duration;

use super::plan::{HARMS, ROGUES, SHOWN};

/// A kind of fault, or of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ActionKind {
    /// `aws:ecs:stop-task`.
    pub(crate) id: &'static str,
    /// For people.
    pub(crate) description: &'static str,
    /// What it is done to; nothing for one that only waits or watches.
    pub(crate) target: Option<TargetKind>,
    /// Its parameters, by name.
    pub(crate) parameters: &'static [ParameterKind],
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetKind {
    /// The action's name for it: `Tasks`.
    pub(crate) name: &'static str,
    /// `aws:ecs:task`.
    pub(crate) resource_type: &'static str,
}

/// A kind of resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResourceType {
    /// `aws:ecs:task`.
    pub(crate) id: &'static str,
    /// For people.
    pub(crate) description: &'static str,
    /// The service in its ARNs.
    pub(crate) arn_service: &'static str,
    /// What the resource of its ARNs begins with.
    pub(crate) arn_kind: &'static str,
    /// What narrows targets of this type down, by name.
    pub(crate) parameters: &'static [ParameterKind],
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParameterKind {
    /// Its name.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) description: &'static str,
    /// It must be given.
    pub(crate) required: bool,
    /// What it may be.
    pub(crate) value: ValueKind,
}

/// What a parameter may be; all of them are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Whole(u32, u32),
    /// ISO 8601, from [`DURATION_MIN`] to [`DURATION_MAX`].
    Duration,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Several of these, joined by commas.
    SomeOf(&'static [&'static str]),
}

/// Shortest duration of an action. AWS's is a minute: too long for experiments that a test suite makes.
pub(crate) const DURATION_MIN: Duration = Duration::from_secs(1);
/// Longest duration of an action.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(12 * 3600);

const TASKS: Option<TargetKind> = Some(TargetKind { name: "Tasks", resource_type: "aws:ecs:task" });
const SERVICES: Option<TargetKind> = Some(TargetKind { name: "Services", resource_type: "aws:ecs:service" });
const CLUSTERS: Option<TargetKind> = Some(TargetKind { name: "Clusters", resource_type: "aws:ecs:cluster" });

const fn required(name: &'static str, value: ValueKind, description: &'static str) -> ParameterKind {
    ParameterKind { name, description, required: true, value }
}

const fn optional(name: &'static str, value: ValueKind, description: &'static str) -> ParameterKind {
    ParameterKind { name, description, required: false, value }
}

const DURATION: ParameterKind =
    required("duration", ValueKind::Duration, "How long it lasts, from one second to 12 hours: PT5M.");
const INSTALL_DEPENDENCIES: ParameterKind = optional(
    "installDependencies",
    ValueKind::Boolean,
    "Whether Systems Manager installs what is needed. Nothing needs to be installed here.",
);
const SOURCES: ParameterKind = optional(
    "sources",
    ValueKind::Text,
    "Discovery names or aliases that the tasks call, joined by commas: only what is sent there. What the \
     tasks send and what others send them by default.",
);
const SHARE: ParameterKind = optional(
    "percent",
    ValueKind::Whole(1, 100),
    "Of how many of a hundred new connections, 100 by default.",
);
const ENDPOINTS: ParameterKind = optional(
    "useEcsFaultInjectionEndpoints",
    ValueKind::Boolean,
    "Whether ECS's fault injection endpoints are used. There is one way here.",
);

/// Every action, by id.
pub(crate) static ACTIONS: &[ActionKind] = &[
    ActionKind {
        id: "aws:cloudwatch:assert-alarm-state",
        description: "Asserts that alarms are in the given states.",
        target: None,
        parameters: &[
            required("alarmArns", ValueKind::Text, "The ARNs of the alarms, joined by commas."),
            required(
                "alarmStates",
                ValueKind::SomeOf(&["OK", "ALARM", "INSUFFICIENT_DATA"]),
                "The states, joined by commas: OK, ALARM, INSUFFICIENT_DATA.",
            ),
        ],
    },
    ActionKind {
        id: "aws:ecs:drain-container-instances",
        description: "Drains container instances of the target clusters.",
        target: CLUSTERS,
        parameters: &[
            required(
                "drainagePercentage",
                ValueKind::Whole(1, 100),
                "The percentage of them, from 1 to 100.",
            ),
            DURATION,
        ],
    },
    ActionKind {
        id: "aws:ecs:stop-task",
        description: "Stops the target tasks.",
        target: TASKS,
        parameters: &[optional(
            "force",
            ValueKind::Boolean,
            "Bowline's own: whether the task is killed without its stop timeout.",
        )],
    },
    ActionKind {
        id: "aws:ecs:task-cpu-stress",
        description: "Runs CPU stress on the target tasks.",
        target: TASKS,
        parameters: &[
            DURATION,
            INSTALL_DEPENDENCIES,
            optional("percent", ValueKind::Whole(0, 100), "The load in percent, 100 by default."),
            optional(
                "workers",
                ValueKind::Whole(0, 1_024),
                "How many stressors there are: 0, as by default, for one a processor.",
            ),
        ],
    },
    ActionKind {
        id: "aws:ecs:task-io-stress",
        description: "Runs I/O stress on the target tasks.",
        target: TASKS,
        parameters: &[
            DURATION,
            INSTALL_DEPENDENCIES,
            optional(
                "percent",
                ValueKind::Whole(0, 100),
                "The share of the free space that is used, in percent, 80 by default.",
            ),
            optional("workers", ValueKind::Whole(1, 1_024), "How many stressors there are, 1 by default."),
        ],
    },
    ActionKind {
        id: "aws:ecs:task-kill-process",
        description: "Stops a process in the target tasks.",
        target: TASKS,
        parameters: &[
            INSTALL_DEPENDENCIES,
            required("processName", ValueKind::Text, "The name of the process."),
            optional("signal", ValueKind::Text, "The signal that it is sent, SIGTERM by default."),
        ],
    },
    ActionKind {
        id: "aws:ecs:task-network-blackhole-port",
        description: "Drops inbound or outbound traffic of a port of the target tasks.",
        target: TASKS,
        parameters: &[
            DURATION,
            INSTALL_DEPENDENCIES,
            required("port", ValueKind::Whole(1, 65_535), "The port."),
            required("protocol", ValueKind::OneOf(&["tcp", "udp"]), "tcp or udp."),
            required("trafficType", ValueKind::OneOf(&["ingress", "egress"]), "ingress or egress."),
            ENDPOINTS,
        ],
    },
    ActionKind {
        id: "aws:ecs:task-network-latency",
        description: "Adds latency and jitter to the traffic of the target tasks.",
        target: TASKS,
        parameters: &[
            optional(
                "delayMilliseconds",
                ValueKind::Whole(0, 3_600_000),
                "The delay in milliseconds, 200 by default.",
            ),
            DURATION,
            INSTALL_DEPENDENCIES,
            optional(
                "jitterMilliseconds",
                ValueKind::Whole(0, 3_600_000),
                "The jitter in milliseconds, 10 by default.",
            ),
            SOURCES,
            ENDPOINTS,
        ],
    },
    ActionKind {
        id: "aws:ecs:task-network-packet-loss",
        description: "Loses packets of the target tasks.",
        target: TASKS,
        parameters: &[
            DURATION,
            INSTALL_DEPENDENCIES,
            optional(
                "lossPercent",
                ValueKind::Whole(0, 100),
                "The share that is lost, in percent, 7 by default.",
            ),
            SOURCES,
            ENDPOINTS,
        ],
    },
    ActionKind { id: "aws:fis:wait", description: "Waits.", target: None, parameters: &[DURATION] },
    ActionKind {
        id: "bowline:certificate-fault",
        description: "Bowline's own: has the sidecars of the target tasks show a faulty certificate.",
        target: TASKS,
        parameters: &[
            DURATION,
            optional("identity", ValueKind::Text, "With shows=identity: the SPIFFE ID that it names."),
            SHARE,
            required("shows", ValueKind::OneOf(SHOWN), "What is wrong with it."),
        ],
    },
    ActionKind {
        id: "bowline:dns-spoof",
        description: "Bowline's own: has a DNS name lead elsewhere.",
        target: None,
        parameters: &[
            required("address", ValueKind::Text, "The IP address that is answered."),
            DURATION,
            required("name", ValueKind::Text, "The name."),
        ],
    },
    ActionKind {
        id: "bowline:freeze",
        description: "Bowline's own: stops processes of the target tasks (SIGSTOP) for a while.",
        target: TASKS,
        parameters: &[
            DURATION,
            optional("processName", ValueKind::Text, "Those with this name, in place of victims."),
            optional(
                "victims",
                ValueKind::OneOf(&["sidecar", "containers"]),
                "The sidecar, as by default, or all in the containers.",
            ),
        ],
    },
    ActionKind {
        id: "bowline:kill-sidecar",
        description: "Bowline's own: kills the sidecars of the target tasks.",
        target: TASKS,
        parameters: &[optional("signal", ValueKind::Text, "The signal, SIGKILL by default.")],
    },
    ActionKind {
        id: "bowline:path-fault",
        description: "Bowline's own: harms what the target tasks' sidecars send to others.",
        target: TASKS,
        parameters: &[
            optional(
                "afterBytes",
                ValueKind::Whole(0, 1_048_576),
                "With harm=reset: how many bytes are answered before, 0 by default.",
            ),
            optional("cluster", ValueKind::Text, "Only what is sent to this discovery name or alias."),
            optional(
                "delayMilliseconds",
                ValueKind::Whole(1, 3_600_000),
                "With harm=delay: the delay in each direction, 200 by default.",
            ),
            DURATION,
            optional("handshakeOnly", ValueKind::Boolean, "With harm=delay: only handshakes are delayed."),
            required("harm", ValueKind::OneOf(HARMS), "What becomes of connections."),
            optional("jitterMilliseconds", ValueKind::Whole(0, 3_600_000), "With harm=delay: 0 by default."),
            optional("lossPercent", ValueKind::Whole(1, 100), "With harm=loss: 7 by default."),
            SHARE,
            optional(
                "server",
                ValueKind::OneOf(ROGUES),
                "With harm=rogue: who answers, untrusted-ca by default.",
            ),
        ],
    },
    ActionKind {
        id: "bowline:restart-service",
        description: "Bowline's own: replaces the tasks of the target services, by UpdateService.",
        target: SERVICES,
        parameters: &[],
    },
    ActionKind {
        id: "bowline:task-memory-stress",
        description: "Bowline's own: holds memory of the target tasks.",
        target: TASKS,
        parameters: &[
            DURATION,
            optional("percent", ValueKind::Whole(1, 100), "The share of it, in percent, 80 by default."),
        ],
    },
];

/// Every kind of target, by id.
pub(crate) static RESOURCE_TYPES: &[ResourceType] = &[
    ResourceType {
        id: "aws:ecs:cluster",
        description: "An Amazon ECS cluster",
        arn_service: "ecs",
        arn_kind: "cluster/",
        parameters: &[],
    },
    ResourceType {
        id: "aws:ecs:service",
        description: "An Amazon ECS service (Bowline's own as a target)",
        arn_service: "ecs",
        arn_kind: "service/",
        parameters: &[optional(
            "cluster",
            ValueKind::Text,
            "The name or ARN of the cluster of the services.",
        )],
    },
    ResourceType {
        id: "aws:ecs:task",
        description: "An Amazon ECS task",
        arn_service: "ecs",
        arn_kind: "task/",
        parameters: &[
            optional("cluster", ValueKind::Text, "The name or ARN of the cluster of the tasks."),
            optional("service", ValueKind::Text, "The name or ARN of the service of the tasks."),
        ],
    },
];

/// The action with this id.
pub(crate) fn action(id: &str) -> Option<&'static ActionKind> {
    ACTIONS.iter().find(|action| action.id == id)
}

/// The kind of target with this id.
pub(crate) fn resource_type(id: &str) -> Option<&'static ResourceType> {
    RESOURCE_TYPES.iter().find(|known| known.id == id)
}

impl ValueKind {
    /// What it may be, where `value` is not.
    pub(crate) fn refuses(self, value: &str) -> Option<String> {
        let one_of = |allowed: &[&str]| allowed.join(", ");
        let (fits, expected) = match self {
            Self::Text => (!value.is_empty(), "a text".to_owned()),
            Self::Boolean => (matches!(value, "true" | "false"), "true or false".to_owned()),
            Self::Whole(from, to) => (
                value.bytes().all(|byte| byte.is_ascii_digit())
                    && value.parse::<u32>().is_ok_and(|number| (from..=to).contains(&number)),
                format!("a whole number from {from} to {to}"),
            ),
            Self::Duration => (
                parse_duration(value).is_some_and(|given| (DURATION_MIN..=DURATION_MAX).contains(&given)),
                "an ISO 8601 duration from PT1S to PT12H".to_owned(),
            ),
            Self::OneOf(allowed) => (allowed.contains(&value), format!("one of {}", one_of(allowed))),
            Self::SomeOf(allowed) => (
                value.split(',').all(|part| allowed.contains(&part.trim())),
                format!("a list of {}", one_of(allowed)),
            ),
        };
        (!fits).then_some(expected)
    }
}

/// `PT1H30M`, `PT90S`, `P1D`: whole days, hours, minutes and seconds of ISO 8601.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let day = units(days, &[('D', 86_400)])?;
    let of_day = units(time, &[('H', 3_600), ('M', 60), ('S', 1)])?;
    Some(Duration::from_secs(day.checked_add(of_day)?))
}

/// The seconds of numbers with these units, each once and in this order.
fn units(mut text: &str, mut known: &[(char, u64)]) -> Option<u64> {
    let mut total = 0_u64;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..end].parse().ok()?;
        let unit = text[end..].chars().next()?;
        let at = known.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(known[at].1)?)?;
        known = &known[at + 1..];
        text = &text[end + unit.len_utf8()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tables_are_in_order_and_hold_together() {
        assert!(ACTIONS.is_sorted_by(|a, b| a.id < b.id));
        assert!(RESOURCE_TYPES.is_sorted_by(|a, b| a.id < b.id));
        for action in ACTIONS {
            if let Some(target) = action.target {
                assert!(resource_type(target.resource_type).is_some(), "{}", action.id);
            }
            assert!(action.parameters.is_sorted_by(|a, b| a.name < b.name), "{}", action.id);
        }
    }

    #[test]
    fn reads_durations() {
        for (text, seconds) in
            [("PT1M", 60), ("PT1H30M", 5_400), ("P1DT1S", 86_401), ("PT12H", 43_200), ("P0D", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "5M",
            "PT5",
            "PTM",
            "PT1M1H",
            "PT1M1M",
            "P1M",
            "PT1.5M",
            "PT-1M",
            "P1DT",
            "PT99999999999999999999S",
            "PT18446744073709551615H",
            "PT1é",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_any_text_as_a_duration_or_not(text in "P?[0-9DTHMSé]{0,12}") {
            let _ = parse_duration(&text);
        }
    }

    #[test]
    fn values_are_of_their_kind() {
        for (kind, good, bad) in [
            (ValueKind::Boolean, "true", "True"),
            (ValueKind::Whole(1, 100), "100", "101"),
            (ValueKind::Whole(1, 100), "1", "+1"),
            (ValueKind::Duration, "PT1S", "PT0S"),
            (ValueKind::Duration, "PT12H", "PT12H1S"),
            (ValueKind::OneOf(&["tcp", "udp"]), "udp", "icmp"),
            (ValueKind::SomeOf(&["OK", "ALARM"]), "OK, ALARM", "OK,"),
            (ValueKind::Text, "x", ""),
        ] {
            assert_eq!(kind.refuses(good), None, "{kind:?}");
            assert!(kind.refuses(bad).is_some(), "{kind:?}");
        }
    }
}
