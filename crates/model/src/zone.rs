//! Availability zones: where the next task goes.

/// How many tasks a zone has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneLoad {
    /// The zone's name.
    pub zone: String,
    /// Of the deployment that the next task is of.
    pub deployment: usize,
    /// Of the service as a whole.
    pub service: usize,
}

/// The zone of the next task, counted there already: the one with the fewest of its deployment, then
/// of its service, then the first, as ECS spreads the tasks of a service that runs on Fargate. `None`:
/// there is no zone to choose from.
pub fn next(zones: &mut [ZoneLoad]) -> Option<&str> {
    let emptiest = zones.iter_mut().min_by_key(|zone| (zone.deployment, zone.service))?;
    emptiest.deployment += 1;
    emptiest.service += 1;
    Some(&emptiest.zone)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_old_deployments_places_are_evened_out_by_the_new() {
        let zone = |zone: &str, service| ZoneLoad { zone: zone.into(), deployment: 0, service };
        let mut zones = [zone("a", 3), zone("b", 1)];
        let placed: Vec<String> = (0..3).filter_map(|_| next(&mut zones).map(str::to_owned)).collect();
        assert_eq!(placed, ["b", "a", "b"]);
        assert_eq!(next(&mut []), None);
    }

    proptest! {
        /// Tasks of a deployment are spread: no zone has two more than another.
        #[test]
        fn no_zone_is_ahead_by_two(before in proptest::collection::vec(0usize..5, 1..6), count in 0usize..40) {
            let load = |(place, service): (usize, &usize)| ZoneLoad {
                zone: place.to_string(),
                deployment: 0,
                service: *service,
            };
            let mut zones: Vec<ZoneLoad> = before.iter().enumerate().map(load).collect();
            for _ in 0..count {
                prop_assert!(next(&mut zones).is_some());
            }
            let counts = zones.iter().map(|zone| zone.deployment);
            let (least, most) = (counts.clone().min().unwrap_or(0), counts.clone().max().unwrap_or(0));
            prop_assert!(most - least <= 1 && counts.sum::<usize>() == count);
        }
    }
}
