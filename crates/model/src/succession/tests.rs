//! A small mesh whose control plane knows only what it is told, late, and a line of authorities that
//! it moves on: whatever happens in whatever order, nobody is shown what he does not trust.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::arn::Scope;

const LIFE: Duration = Duration::from_secs(100);

fn arn(number: usize) -> Arn {
    Scope::default().arn("acm-pca", format_args!("certificate-authority/{number}"))
}

fn line() -> Succession {
    Succession::new(vec![Member { authority: arn(0), slot: Slot::Current, since: Timestamp::default() }])
}

/// A proxy as it is, and as the control plane believes it to be.
#[derive(Clone, Debug)]
struct Proxy {
    trusts: BTreeSet<Arn>,
    shows: Leaf,
    /// What the control plane issued to it and has not seen to be given up.
    issued: Vec<Leaf>,
    informed: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Add,
    Promote,
    Retire(usize),
    Start,
    Stop(usize),
    /// The bundle arrives; its answer may get lost.
    Bundle(usize, bool),
    /// A new certificate is issued; it may get lost on the way.
    Renew(usize, bool),
    /// The stream is opened anew, with the certificate that the proxy has.
    Open(usize),
    Away(usize),
}

struct Mesh {
    line: Succession,
    made: usize,
    proxies: Vec<Proxy>,
    now: Timestamp,
}

impl Mesh {
    fn bundle(&self) -> BTreeSet<Arn> {
        let trusted = self.line.members().iter().filter(|member| member.slot.is_trusted());
        trusted.map(|member| member.authority.clone()).collect()
    }

    fn peers(&self) -> Vec<Peer> {
        let peer = |(number, proxy): (usize, &Proxy)| Peer {
            name: number.to_string(),
            informed: proxy.informed,
            leaves: proxy.issued.clone(),
        };
        self.proxies.iter().enumerate().map(peer).collect()
    }

    fn leaf(&self) -> Leaf {
        let authority = self.line.in_slot(Slot::Current).expect("one signs").clone();
        Leaf { authority, not_after: self.now + LIFE }
    }

    /// Takes a step. Without `careful`, authorities are promoted and retired by force.
    fn step(&mut self, step: &Step, careful: bool) {
        let (now, bundle, leaf, peers) = (self.now, self.bundle(), self.leaf(), self.peers());
        let count = self.proxies.len();
        let mut changed = false;
        match *step {
            Step::Pass(seconds) => self.now = now + Duration::from_secs(seconds),
            Step::Add => {
                changed = self.line.add(arn(self.made + 1), now).is_ok();
                self.made += usize::from(changed);
            }
            Step::Promote => drop(self.line.promote(&peers, !careful, now)),
            Step::Retire(number) => {
                let members = self.line.members();
                let which = members[number % members.len()].authority.clone();
                changed = self.line.retire(Some(&which), &peers, !careful, now).is_ok();
            }
            Step::Start if count < 6 => self.proxies.push(Proxy {
                trusts: bundle,
                shows: leaf.clone(),
                issued: vec![leaf],
                informed: false,
            }),
            Step::Stop(number) if count > 0 => drop(self.proxies.remove(number % count)),
            Step::Bundle(number, answered) if count > 0 => {
                let proxy = &mut self.proxies[number % count];
                proxy.trusts = bundle;
                proxy.informed |= answered;
            }
            Step::Renew(number, arrives) if count > 0 => {
                let proxy = &mut self.proxies[number % count];
                proxy.issued.push(leaf.clone());
                if arrives {
                    // Whose certificate has ended was away: what it is told now is what it goes by.
                    if proxy.shows.not_after < now {
                        proxy.trusts = bundle;
                    }
                    proxy.shows = leaf;
                }
            }
            Step::Open(number) if count > 0 => {
                let proxy = &mut self.proxies[number % count];
                // What was issued after the one that is shown may yet be on its way.
                let at = proxy.issued.iter().rposition(|leaf| *leaf == proxy.shows);
                proxy.issued.drain(..at.expect("it was issued"));
                proxy.informed = false;
            }
            Step::Away(number) if count > 0 => self.proxies[number % count].informed = false,
            _ => {}
        }
        if changed {
            self.proxies.iter_mut().for_each(|proxy| proxy.informed = false);
        }
    }

    /// Whether everybody trusts what anybody shows.
    fn is_sound(&self) -> bool {
        let live = || self.proxies.iter().filter(|proxy| proxy.shows.not_after >= self.now);
        live().all(|shows| live().all(|reads| reads.trusts.contains(&shows.shows.authority)))
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0_usize..8;
    let step = prop_oneof![
        2 => (1_u64..60).prop_map(Step::Pass),
        3 => Just(Step::Add),
        4 => Just(Step::Promote),
        4 => number.clone().prop_map(Step::Retire),
        3 => Just(Step::Start),
        1 => number.clone().prop_map(Step::Stop),
        6 => (number.clone(), any::<bool>()).prop_map(|(of, answered)| Step::Bundle(of, answered)),
        6 => (number.clone(), any::<bool>()).prop_map(|(of, arrives)| Step::Renew(of, arrives)),
        4 => number.clone().prop_map(Step::Open),
        1 => number.prop_map(Step::Away),
    ];
    proptest::collection::vec(step, 0..80)
}

fn mesh() -> Mesh {
    Mesh { line: line(), made: 0, proxies: Vec::new(), now: Timestamp::from_secs(1_000) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nobody_is_shown_what_he_does_not_trust(steps in steps()) {
        let mut mesh = mesh();
        for step in steps {
            mesh.step(&step, true);
            prop_assert!(mesh.is_sound(), "after {step:?}: {:?} {:?}", mesh.line, mesh.proxies);
            let signing = mesh.line.members().iter().filter(|member| member.slot == Slot::Current);
            prop_assert_eq!(signing.count(), 1);
            prop_assert!(mesh.line.oldest_trusted().is_some());
        }
    }
}

/// A whole roll-over of two proxies, with each step refused until it may be taken.
fn roll_over(mesh: &mut Mesh, careful: bool) -> Vec<bool> {
    let mut sound = Vec::new();
    let mut take = |mesh: &mut Mesh, step| {
        mesh.step(&step, careful);
        sound.push(mesh.is_sound());
    };
    for step in [
        Step::Start,
        Step::Start,
        Step::Add,
        Step::Bundle(0, true),
        Step::Promote,
        Step::Renew(0, true),
        Step::Bundle(1, true),
        Step::Promote,
        Step::Renew(0, true),
        Step::Open(0),
        Step::Retire(0),
        Step::Renew(1, true),
        Step::Open(1),
        Step::Bundle(0, true),
        Step::Bundle(1, true),
        Step::Retire(0),
    ] {
        take(mesh, step);
    }
    sound
}

#[test]
fn a_line_rolls_over_and_without_the_refusals_it_would_break() {
    let mut careful = mesh();
    assert!(roll_over(&mut careful, true).into_iter().all(|sound| sound));
    let slots: Vec<_> = careful.line.members().iter().map(|member| member.slot).collect();
    assert_eq!(slots, [Slot::Retired, Slot::Current]);
    assert_eq!(careful.line.oldest_trusted(), Some(&arn(1)));

    // The twin: by force, the second proxy is shown what it does not trust.
    assert!(roll_over(&mut mesh(), false).contains(&false));
}

#[test]
fn each_refusal_changes_nothing_and_says_who_is_waited_for() {
    let now = Timestamp::from_secs(50);
    let mut line = line();
    let peer = |informed, authority: usize, not_after| Peer {
        name: "task".into(),
        informed,
        leaves: vec![Leaf { authority: arn(authority), not_after: Timestamp::from_secs(not_after) }],
    };
    let refuses = |line: &mut Succession, refused: SuccessionRefused, act: &dyn Fn(&mut Succession) -> _| {
        let before = line.clone();
        assert_eq!(act(line), Err(refused));
        assert_eq!(*line, before);
    };
    refuses(&mut line, SuccessionRefused::NoNext, &|line| line.promote(&[], true, now));
    refuses(&mut line, SuccessionRefused::NothingFormer, &|line| line.retire(None, &[], true, now));
    refuses(&mut line, SuccessionRefused::Known(arn(0)), &|line| line.add(arn(0), now).map(|()| arn(0)));
    line.add(arn(1), now).unwrap();
    refuses(&mut line, SuccessionRefused::NextExists(arn(1)), &|line| line.add(arn(2), now).map(|()| arn(2)));
    let waiting = SuccessionRefused::Uninformed(vec!["task".into()]);
    assert_eq!(waiting.to_string(), "1 proxy has not said that it trusts the present roots: task");
    refuses(&mut line, waiting, &|line| line.promote(&[peer(false, 0, 50)], false, now));
    refuses(&mut line, SuccessionRefused::IsCurrent(arn(0)), &|line| {
        line.retire(Some(&arn(0)), &[], true, now)
    });
    refuses(&mut line, SuccessionRefused::Unknown(arn(9)), &|line| {
        line.retire(Some(&arn(9)), &[], true, now)
    });
    // One whose certificate has ended is waited for no more.
    assert_eq!(line.promote(&[peer(false, 0, 49)], false, now), Ok(arn(1)));
    let live = SuccessionRefused::Live { authority: arn(0), peers: vec!["task".into()] };
    refuses(&mut line, live, &|line| line.retire(None, &[peer(true, 0, 50)], false, now));
    assert_eq!(line.retire(None, &[peer(true, 1, 50)], false, now), Ok(arn(0)));

    for number in 2..=TRUSTED_MAX {
        line.add(arn(number), now).unwrap();
        line.promote(&[], false, now).unwrap();
    }
    refuses(&mut line, SuccessionRefused::TooMany, &|line| line.add(arn(99), now).map(|()| arn(99)));
    assert!(
        matches!(line.retire(None, &[], true, now), Err(SuccessionRefused::Ambiguous(names)) if names.len() == 7)
    );
    assert_eq!(line.retire(Some(&arn(3)), &[], false, now), Ok(arn(3)));
}
