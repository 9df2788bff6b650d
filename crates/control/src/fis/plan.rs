//! What an action of a template is, once its parameters are read. Pure.
//!
//! Source of AWS's parameters and their defaults: AWS FIS user guide, "AWS FIS Actions reference".

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use bowline_model::fault::{ALL, FaultyCertificate, PathHarm, RogueServer, TaskHarm, Victims};

use super::catalogue;

/// What an action does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing, for so long.
    Wait(Duration),
    /// Alarms, by their ARNs, are in one of these states.
    AssertAlarms {
        /// Which.
        arns: Vec<String>,
        /// `OK`, `ALARM`, `INSUFFICIENT_DATA`.
        states: Vec<String>,
    },
    /// Tasks are stopped.
    StopTasks {
        /// Their containers are killed too, at once.
        force: bool,
    },
    /// Container instances are drained.
    Drain {
        /// For so long.
        lasting: Duration,
        /// So many of a hundred, rounded up.
        percent: u32,
    },
    /// Sidecars of tasks get other certificates.
    RenewCertificates,
    /// Services' tasks are replaced.
    RestartServices,
    /// Tasks are harmed themselves.
    Tasks {
        /// How.
        harm: TaskHarm,
        /// For so long; `None`: once.
        lasting: Option<Duration>,
    },
    /// Sidecars of tasks show another certificate.
    Certificates {
        /// Which.
        shows: FaultyCertificate,
        /// Of a million connections.
        per_million: u32,
        /// For so long.
        lasting: Duration,
    },
    /// What tasks send and what is sent to them.
    Around {
        /// How; `None`: not at all.
        harm: Option<PathHarm>,
        /// Only what they send to these discovery names or clusters; all, both ways, where none is named.
        sources: Vec<String>,
        /// For so long.
        lasting: Duration,
    },
    /// What tasks send to clusters.
    Paths {
        /// How.
        harm: PathHarm,
        /// Only to this discovery name or cluster.
        cluster: Option<String>,
        /// Of a million connections.
        per_million: u32,
        /// For so long.
        lasting: Duration,
    },
    /// A name leads elsewhere.
    Name {
        /// The name.
        name: String,
        /// Where to.
        address: IpAddr,
        /// For so long.
        lasting: Duration,
    },
}

/// Reads the parameters of an action of the catalogue, each of which is of its kind already.
///
/// # Errors
/// Which parameters do not go together.
pub(crate) fn parse(action_id: &str, given: &BTreeMap<String, String>) -> Result<Plan, String> {
    let given = Given(given);
    let once = |harm| Ok(Plan::Tasks { harm, lasting: None });
    match action_id {
        "aws:fis:wait" => Ok(Plan::Wait(given.duration()?)),
        "aws:cloudwatch:assert-alarm-state" => {
            Ok(Plan::AssertAlarms { arns: given.list("alarmArns"), states: given.list("alarmStates") })
        }
        "aws:ecs:stop-task" => Ok(Plan::StopTasks { force: given.flag("force") }),
        "aws:ecs:drain-container-instances" => {
            Ok(Plan::Drain { lasting: given.duration()?, percent: given.number("drainagePercentage", 100)? })
        }
        "bowline:renew-certificates" => Ok(Plan::RenewCertificates),
        "bowline:restart-service" => Ok(Plan::RestartServices),
        "aws:ecs:task-cpu-stress" => {
            let (percent, workers) = (given.percent("percent", 100)?, given.number("workers", 0)?);
            given.unless_zero(percent, TaskHarm::Cpu { percent, workers })
        }
        "aws:ecs:task-io-stress" => {
            let (percent, workers) = (given.percent("percent", 80)?, given.number("workers", 1)?);
            given.unless_zero(percent, TaskHarm::Io { percent, workers })
        }
        "bowline:task-memory-stress" => {
            given.lasting(TaskHarm::Memory { percent: given.percent("percent", 80)? })
        }
        "aws:ecs:task-kill-process" => once(TaskHarm::Kill {
            victims: Victims::Named(given.required("processName")?.to_owned()),
            signal: signal(given.text("signal").unwrap_or("SIGTERM"))?,
        }),
        "bowline:kill-sidecar" => once(TaskHarm::Kill {
            victims: Victims::Sidecar,
            signal: signal(given.text("signal").unwrap_or("SIGKILL"))?,
        }),
        "bowline:freeze" => {
            let victims = match (given.text("victims").unwrap_or("sidecar"), given.text("processName")) {
                (_, Some(name)) => Victims::Named(name.to_owned()),
                ("containers", None) => Victims::Containers,
                (_, None) => Victims::Sidecar,
            };
            given.lasting(TaskHarm::Freeze { victims })
        }
        "aws:ecs:task-network-blackhole-port" => given.lasting(TaskHarm::Blackhole {
            port: given.number("port", 0)?,
            tcp: given.required("protocol")? == "tcp",
            ingress: given.required("trafficType")? == "ingress",
        }),
        "aws:ecs:task-network-latency" => {
            // AWS delays what the task sends: once a round trip. A relay delays each direction.
            let half = |name, otherwise| -> Result<Duration, String> {
                Ok(Duration::from_millis(given.number(name, otherwise)?) / 2)
            };
            let each_way = half("delayMilliseconds", 200_u64)?;
            let jitter = half("jitterMilliseconds", 10)?.min(each_way);
            let harm = PathHarm::Delay { each_way, jitter, handshake_only: false };
            given.around((!each_way.is_zero()).then_some(harm))
        }
        "aws:ecs:task-network-packet-loss" => {
            let percent = given.percent("lossPercent", 7)?;
            given.around((percent > 0).then_some(PathHarm::Loss { percent }))
        }
        "bowline:certificate-fault" => Ok(Plan::Certificates {
            shows: shows(&given)?,
            per_million: given.share()?,
            lasting: given.duration()?,
        }),
        "bowline:path-fault" => Ok(Plan::Paths {
            harm: harm(&given)?,
            cluster: given.text("cluster").map(str::to_owned),
            per_million: given.share()?,
            lasting: given.duration()?,
        }),
        "bowline:dns-spoof" => {
            let address = given.required("address")?;
            Ok(Plan::Name {
                name: given.required("name")?.trim_end_matches('.').to_owned(),
                address: address.parse().map_err(|_| format!("address {address} is no IP address"))?,
                lasting: given.duration()?,
            })
        }
        unknown => Err(format!("{unknown} is no action")),
    }
}

/// What `shows` of `bowline:certificate-fault` may be.
pub(crate) const SHOWN: &[&str] = &[
    "expired",
    "not-yet-valid",
    "revoked",
    "identity",
    "no-identity",
    "untrusted-ca",
    "self-signed",
    "invalid-chain",
    "key-mismatch",
];

/// What `harm` of `bowline:path-fault` may be.
pub(crate) const HARMS: &[&str] = &["delay", "loss", "stall", "one-way", "refuse", "reset", "rogue"];

/// What `server` of `bowline:path-fault` may be.
pub(crate) const ROGUES: &[&str] = &["untrusted-ca", "self-signed", "plaintext", "old-tls"];

fn shows(given: &Given<'_>) -> Result<FaultyCertificate, String> {
    let identity = given.text("identity");
    let shows = given.required("shows")?;
    if identity.is_some() != (shows == "identity") {
        return Err("identity is given with shows=identity, and only with it".to_owned());
    }
    Ok(match shows {
        "expired" => FaultyCertificate::Expired,
        "not-yet-valid" => FaultyCertificate::NotYetValid,
        "revoked" => FaultyCertificate::Revoked,
        "no-identity" => FaultyCertificate::NoIdentity,
        "untrusted-ca" => FaultyCertificate::UntrustedCa,
        "self-signed" => FaultyCertificate::SelfSigned,
        "invalid-chain" => FaultyCertificate::InvalidChain,
        "key-mismatch" => FaultyCertificate::KeyMismatch,
        _ => FaultyCertificate::Identity(identity.unwrap_or_default().to_owned()),
    })
}

fn harm(given: &Given<'_>) -> Result<PathHarm, String> {
    let harm = given.required("harm")?;
    // What belongs to another harm would be ignored silently.
    let of = [
        ("delayMilliseconds", "delay"),
        ("jitterMilliseconds", "delay"),
        ("handshakeOnly", "delay"),
        ("lossPercent", "loss"),
        ("afterBytes", "reset"),
        ("server", "rogue"),
    ];
    if let Some((name, only)) = of.iter().find(|(name, only)| given.text(name).is_some() && *only != harm) {
        return Err(format!("{name} goes with harm={only} alone"));
    }
    let milliseconds = |name, otherwise| -> Result<Duration, String> {
        Ok(Duration::from_millis(given.number(name, otherwise)?))
    };
    Ok(match harm {
        "delay" => PathHarm::Delay {
            each_way: milliseconds("delayMilliseconds", 200)?,
            jitter: milliseconds("jitterMilliseconds", 0)?,
            handshake_only: given.flag("handshakeOnly"),
        },
        "loss" => PathHarm::Loss { percent: given.percent("lossPercent", 7)? },
        "stall" => PathHarm::Stall,
        "one-way" => PathHarm::OneWay { after: Duration::ZERO },
        "refuse" => PathHarm::Refuse,
        "reset" => PathHarm::Reset { after_bytes: given.number("afterBytes", 0)? },
        _ => PathHarm::Rogue(match given.text("server").unwrap_or("untrusted-ca") {
            "self-signed" => RogueServer::SelfSigned,
            "plaintext" => RogueServer::Plaintext,
            "old-tls" => RogueServer::OldTls,
            _ => RogueServer::UntrustedCa,
        }),
    })
}

/// Signals that may be sent, by their numbers on Linux (signal(7), x86 and ARM).
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGABRT", 6),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
];

fn signal(name: &str) -> Result<i32, String> {
    let number = name.parse().ok();
    let known = SIGNALS
        .iter()
        .find(|(known, of)| *known == name || known.strip_prefix("SIG") == Some(name) || number == Some(*of));
    let names = || SIGNALS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    known.map(|(_, number)| *number).ok_or_else(|| format!("signal {name} is none of {}", names()))
}

/// The parameters of an action.
struct Given<'a>(&'a BTreeMap<String, String>);

impl<'a> Given<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&'a str, String> {
        self.text(name).ok_or_else(|| format!("the parameter {name} is needed"))
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.text(name).unwrap_or_default().split(',').map(|part| part.trim().to_owned()).collect()
    }

    fn number<T: std::str::FromStr>(&self, name: &str, otherwise: T) -> Result<T, String> {
        match self.text(name) {
            Some(text) => text.parse().map_err(|_| format!("{name} {text} is no such number")),
            None => Ok(otherwise),
        }
    }

    fn percent(&self, name: &str, otherwise: u8) -> Result<u8, String> {
        self.number(name, otherwise)
    }

    fn duration(&self) -> Result<Duration, String> {
        let text = self.required("duration")?;
        catalogue::parse_duration(text).ok_or_else(|| format!("{text} is no duration"))
    }

    /// `percent` of connections, in a million.
    fn share(&self) -> Result<u32, String> {
        Ok(self.number("percent", 100_u32)?.saturating_mul(ALL / 100))
    }

    fn lasting(&self, harm: TaskHarm) -> Result<Plan, String> {
        Ok(Plan::Tasks { harm, lasting: Some(self.duration()?) })
    }

    /// AWS allows a stress of nothing.
    fn unless_zero(&self, percent: u8, harm: TaskHarm) -> Result<Plan, String> {
        if percent == 0 { Ok(Plan::Wait(self.duration()?)) } else { self.lasting(harm) }
    }

    fn around(&self, harm: Option<PathHarm>) -> Result<Plan, String> {
        let sources = self.text("sources").map(|_| self.list("sources")).unwrap_or_default();
        if let Some(address) = sources.iter().find(|source| is_address(source)) {
            return Err(format!(
                "sources: {address}: traffic of the mesh is known by the names that are called, not by addresses"
            ));
        }
        Ok(Plan::Around { harm, sources, lasting: self.duration()? })
    }
}

fn is_address(text: &str) -> bool {
    text.split('/').next().unwrap_or(text).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(id: &str, given: &[(&str, &str)]) -> Result<Plan, String> {
        let given: BTreeMap<_, _> =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse(id, &given)
    }

    const MINUTE: (&str, &str) = ("duration", "PT1M");

    #[test]
    fn aws_defaults_hold() {
        let lasting = Duration::from_secs(60);
        let tasks = |harm| Ok(Plan::Tasks { harm, lasting: Some(lasting) });
        assert_eq!(
            plan("aws:ecs:task-cpu-stress", &[MINUTE]),
            tasks(TaskHarm::Cpu { percent: 100, workers: 0 })
        );
        assert_eq!(
            plan("aws:ecs:task-io-stress", &[MINUTE]),
            tasks(TaskHarm::Io { percent: 80, workers: 1 })
        );
        assert_eq!(plan("aws:ecs:task-cpu-stress", &[MINUTE, ("percent", "0")]), Ok(Plan::Wait(lasting)));
        assert_eq!(plan("aws:ecs:stop-task", &[]), Ok(Plan::StopTasks { force: false }));
        // AWS's 200 ms are a round trip's.
        let delay = PathHarm::Delay {
            each_way: Duration::from_millis(100),
            jitter: Duration::from_millis(5),
            handshake_only: false,
        };
        let around = |harm| Ok(Plan::Around { harm, sources: Vec::new(), lasting });
        assert_eq!(plan("aws:ecs:task-network-latency", &[MINUTE]), around(Some(delay)));
        assert_eq!(
            plan("aws:ecs:task-network-packet-loss", &[MINUTE]),
            around(Some(PathHarm::Loss { percent: 7 }))
        );
        assert_eq!(plan("aws:ecs:task-network-packet-loss", &[MINUTE, ("lossPercent", "0")]), around(None));
        let kill = |signal| {
            let harm = TaskHarm::Kill { victims: Victims::Named("nginx".to_owned()), signal };
            Ok(Plan::Tasks { harm, lasting: None })
        };
        let name = ("processName", "nginx");
        assert_eq!(plan("aws:ecs:task-kill-process", &[name]), kill(15));
        assert_eq!(plan("aws:ecs:task-kill-process", &[name, ("signal", "SIGKILL")]), kill(9));
        assert_eq!(plan("aws:ecs:task-kill-process", &[name, ("signal", "9")]), kill(9));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (id, given) in [
            ("aws:ecs:task-kill-process", &[("processName", "x"), ("signal", "SIGNOTHING")][..]),
            ("aws:ecs:task-network-latency", &[MINUTE, ("sources", "10.0.0.0/8")]),
            ("bowline:certificate-fault", &[MINUTE, ("shows", "identity")]),
            ("bowline:certificate-fault", &[MINUTE, ("shows", "expired"), ("identity", "spiffe://a/b")]),
            ("bowline:path-fault", &[MINUTE, ("harm", "stall"), ("lossPercent", "5")]),
            ("bowline:path-fault", &[MINUTE, ("harm", "loss"), ("server", "old-tls")]),
            ("bowline:dns-spoof", &[MINUTE, ("name", "a.b"), ("address", "nowhere")]),
            ("bowline:nothing", &[]),
        ] {
            assert!(plan(id, given).is_err(), "{id} {given:?}");
        }
    }

    #[test]
    fn every_word_of_the_catalogue_has_a_meaning() {
        let found: Vec<_> = SHOWN
            .iter()
            .map(|shows| {
                let identity = (*shows == "identity").then_some(("identity", "spiffe://a/b"));
                let given: Vec<_> = [MINUTE, ("shows", shows)].into_iter().chain(identity).collect();
                plan("bowline:certificate-fault", &given).expect("a plan")
            })
            .collect();
        assert!((1..found.len()).all(|at| !found[..at].contains(&found[at])));
        let harms =
            HARMS.iter().map(|harm| plan("bowline:path-fault", &[MINUTE, ("harm", harm)]).expect("a plan"));
        let rogues = ROGUES[1..].iter().map(|server| {
            plan("bowline:path-fault", &[MINUTE, ("harm", "rogue"), ("server", server)]).expect("a plan")
        });
        let found: Vec<_> = harms.chain(rogues).collect();
        assert!((1..found.len()).all(|at| !found[..at].contains(&found[at])));
    }
}
