//! ECS's `ulimits` as the system's resource limits.

use bowline_model::task::Ulimit;
use nix::sys::resource::Resource;

/// Resource, soft and hard limit of each; −1 of the JSON, all ones here, is no limit.
pub(crate) fn limits(ulimits: &[Ulimit]) -> Result<Vec<(u32, u64, u64)>, String> {
    ulimits
        .iter()
        .map(|ulimit| {
            let resource =
                resource(&ulimit.name).ok_or_else(|| format!("no ulimit is named {}", ulimit.name))?;
            if ulimit.soft > ulimit.hard {
                return Err(format!("the soft limit of ulimit {} is above its hard limit", ulimit.name));
            }
            Ok((resource as u32, ulimit.soft, ulimit.hard))
        })
        .collect()
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_limit() {
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        assert_eq!(limits(&[ulimit("nofile", 10, 20)]).expect("a limit")[0].1, 10);
        assert!(limits(&[ulimit("files", 1, 1)]).is_err());
        assert!(limits(&[ulimit("nofile", 2, 1)]).is_err());
    }
}
