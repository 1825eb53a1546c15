//! The sets of questions that a rule speaks of. Which values a pattern or a comparison holds for is
//! asked of the code that evaluates it.

use aegis_contract::action::{ActionType, REPLICAS_MAX};
use serde_json::Value;

use super::diagram::{Diagrams, EVERYTHING, NOTHING, OverBudget, Region};
use super::text::Pattern;
use super::values::patterns_of;
use super::world::{Dimension, FAMILIES, FRESH, Place, Witness, World, ways_of_resource};
use crate::attribute::RESTARTED;
use crate::decision::RuleEffect;
use crate::document::{Check, Condition, Match, Policy, Rule, Test};
use crate::evaluate::compare;
use crate::pattern::ResourcePattern;

/// Where a condition is true, and where it is false; it is unknown everywhere else.
#[derive(Clone, Copy)]
pub(super) struct Truths {
    pub(super) is_true: Region,
    pub(super) is_false: Region,
}

/// Sets of questions of one world.
pub(super) struct Regions<'a> {
    pub(super) world: &'a World,
    pub(super) diagrams: Diagrams,
}

impl<'a> Regions<'a> {
    pub(super) fn new(world: &'a World, steps: u64) -> Self {
        Self { world, diagrams: Diagrams::new(steps) }
    }

    /// The questions whose value in this dimension is one of those.
    pub(super) fn values(
        &mut self,
        dimension: &Dimension,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Region, OverBudget> {
        match self.world.axis(dimension) {
            Some(axis) => self.diagrams.values(axis.index, axis.values.iter().map(holds)),
            None => Ok(NOTHING),
        }
    }

    /// The questions with this text in a dimension.
    pub(super) fn text(&mut self, dimension: &Dimension, text: &str) -> Result<Region, OverBudget> {
        self.values(dimension, |value| value == text)
    }

    /// The questions that can be asked at all: what [`Question::new`](crate::Question::new) accepts.
    pub(super) fn well_formed(&mut self) -> Result<Region, OverBudget> {
        let is_action = |value: &Value| value.as_str().is_some_and(|text| text.parse::<ActionType>().is_ok());
        let known = self.values(&Dimension::Action, is_action)?;
        let aegis = self.text(&Dimension::Family, "aegis")?;
        let mut well_formed = self.diagrams.either(known, aegis)?;
        for (path, action) in [
            ("params.duringRollout", ActionType::Restart),
            ("params.pods", ActionType::Restart),
            ("params.canary", ActionType::Restart),
            ("params.replicas", ActionType::Scale),
            ("params.toRevision", ActionType::Rollback),
        ] {
            let dimension = Dimension::Given(path.to_owned());
            if self.world.axis(&dimension).is_some() {
                let missing = self.values(&dimension, Value::is_null)?;
                let taken =
                    self.values(&Dimension::Action, |value| value == action.as_str() || !is_action(value))?;
                let fits = self.diagrams.either(missing, taken)?;
                well_formed = self.diagrams.both(well_formed, fits)?;
            }
        }
        Ok(well_formed)
    }

    /// Of those, the ones that a request for an action can lead to: the action exists on that kind, and
    /// its parameters are what it takes.
    pub(super) fn plausible(&mut self) -> Result<Region, OverBudget> {
        let mut ways = vec![self.text(&Dimension::Family, "aegis")?];
        for action in ActionType::ALL {
            let kinds = |value: &Value| action.kinds().iter().any(|kind| value == kind.as_str());
            let mut way = vec![
                self.text(&Dimension::Family, "k8s")?,
                self.text(&Dimension::Action, action.as_str())?,
                self.values(&Dimension::Kind, kinds)?,
            ];
            for (path, wanted) in parameters(action) {
                let dimension = Dimension::Given((*path).to_owned());
                if self.world.axis(&dimension).is_some() {
                    way.push(self.values(&dimension, wanted)?);
                }
            }
            ways.push(self.diagrams.all(&way)?);
        }
        let plausible = self.diagrams.any(&ways)?;
        let well_formed = self.well_formed()?;
        self.diagrams.both(plausible, well_formed)
    }

    /// A question of the set, if possible one that a request can lead to.
    pub(super) fn witness(&mut self, region: Region) -> Result<Option<Witness>, OverBudget> {
        let (plausible, well_formed) = (self.plausible()?, self.well_formed()?);
        for among in [plausible, well_formed] {
            let found = self.diagrams.both(region, among)?;
            if let Some(picked) = self.diagrams.pick(found) {
                return Ok(self.world.witness(&picked));
            }
        }
        Ok(None)
    }

    /// P2: the questions that a match covers.
    pub(super) fn matching(&mut self, matching: &Match) -> Result<Region, OverBudget> {
        let mut dimensions = vec![EVERYTHING];
        for (dimension, globs) in
            [(Dimension::Principal, &matching.principals), (Dimension::Action, &matching.actions)]
        {
            if !globs.is_empty() {
                let matches =
                    |value: &Value| is_text(value, |text| globs.iter().any(|glob| glob.matches(text)));
                dimensions.push(self.values(&dimension, matches)?);
            }
        }
        if !matching.roles.is_empty() {
            dimensions.push(self.holding(|role| matching.roles.iter().any(|glob| glob.matches(role)))?);
        }
        if !matching.resources.is_empty() {
            let resources: Vec<Region> =
                matching.resources.iter().map(|pattern| self.resource(pattern)).collect::<Result<_, _>>()?;
            dimensions.push(self.diagrams.any(&resources)?);
        }
        self.diagrams.all(&dimensions)
    }

    /// P22: the questions about resources that a pattern matches.
    pub(super) fn resource(&mut self, pattern: &ResourcePattern) -> Result<Region, OverBudget> {
        let Some((first, segments)) = pattern.segments().split_first() else { return Ok(EVERYTHING) };
        let mut ways = Vec::new();
        for (family, dimensions) in FAMILIES.iter().filter(|(name, _)| first.matches(name)) {
            let mut way = vec![self.text(&Dimension::Family, family)?];
            for (dimension, glob) in dimensions.iter().zip(segments) {
                way.push(self.values(dimension, |value| is_text(value, |text| glob.matches(text)))?);
            }
            ways.push(self.diagrams.all(&way)?);
        }
        self.diagrams.any(&ways)
    }

    /// The questions of those who hold a role for which this is true.
    fn holding(&mut self, is_wanted: impl Fn(&str) -> bool) -> Result<Region, OverBudget> {
        let wanted: Vec<String> = self.world.roles().into_iter().filter(|role| is_wanted(role)).collect();
        let regions: Vec<Region> = wanted
            .into_iter()
            .map(|role| self.values(&Dimension::Role(role), |held| held == true))
            .collect::<Result<_, _>>()?;
        self.diagrams.any(&regions)
    }

    /// The questions at times when the rule is valid and its time is open.
    pub(super) fn timely(&mut self, policy: &Policy, rule: &Rule) -> Result<Region, OverBudget> {
        let Some(axis) = self.world.axis(&Dimension::Time) else { return Ok(NOTHING) };
        let instants = self.world.instants().iter();
        self.diagrams.values(axis.index, instants.map(|at| policy.validity().holds(*at) && rule.is_open(*at)))
    }

    /// The questions for which the rule's condition lets it apply: P18, P19.
    pub(super) fn condition(&mut self, rule: &Rule) -> Result<Region, OverBudget> {
        let mut applying = EVERYTHING;
        for condition in rule.conditions() {
            let truths = self.truths(condition)?;
            applying = match rule.effect {
                RuleEffect::Allow => self.diagrams.both(applying, truths.is_true)?,
                RuleEffect::Deny | RuleEffect::Require => self.diagrams.without(applying, truths.is_false)?,
            };
        }
        Ok(applying)
    }

    /// The questions to which the rule applies, of those that can be asked.
    pub(super) fn applying(&mut self, policy: &Policy, rule: &Rule) -> Result<Region, OverBudget> {
        let parts = [
            self.well_formed()?,
            self.matching(&rule.matching)?,
            self.condition(rule)?,
            self.timely(policy, rule)?,
        ];
        self.diagrams.all(&parts)
    }

    /// P7: where a condition is true, and where it is false.
    pub(super) fn truths(&mut self, condition: &Condition) -> Result<Truths, OverBudget> {
        match condition {
            Condition::Not(member) => {
                let Truths { is_true, is_false } = self.truths(member)?;
                Ok(Truths { is_true: is_false, is_false: is_true })
            }
            Condition::All(members) | Condition::Any(members) => {
                let members: Vec<Truths> =
                    members.iter().map(|member| self.truths(member)).collect::<Result<_, _>>()?;
                let are_true: Vec<Region> = members.iter().map(|member| member.is_true).collect();
                let are_false: Vec<Region> = members.iter().map(|member| member.is_false).collect();
                Ok(if matches!(condition, Condition::All(_)) {
                    Truths {
                        is_true: self.diagrams.all(&are_true)?,
                        is_false: self.diagrams.any(&are_false)?,
                    }
                } else {
                    Truths {
                        is_true: self.diagrams.any(&are_true)?,
                        is_false: self.diagrams.all(&are_false)?,
                    }
                })
            }
            Condition::Test(test) => self.test(test),
        }
    }

    /// P16: where a comparison is true, and where it is false.
    pub(super) fn test(&mut self, test: &Test) -> Result<Truths, OverBudget> {
        let check = &test.check;
        match Place::of(&test.path) {
            Place::Plain(dimension) => self.compared(&dimension, check),
            Place::Roles => self.roles(check),
            Place::Resource => self.whole_resource(check),
            Place::Segment(in_cluster, elsewhere) => {
                let in_cluster = self.compared(&in_cluster, check)?;
                let elsewhere = match elsewhere {
                    Some(dimension) => self.compared(&dimension, check)?,
                    None => missing(check),
                };
                let family = self.text(&Dimension::Family, "k8s")?;
                self.split(family, in_cluster, elsewhere)
            }
            Place::Seen(dimension) => {
                let seen = self.compared(&dimension, check)?;
                let fresh = self.text(&Dimension::Facts, FRESH)?;
                let none = self.values(&Dimension::Facts, Value::is_null)?;
                // P14: stale facts say nothing, not even that something is missing.
                let stale = Truths { is_true: NOTHING, is_false: NOTHING };
                let otherwise = self.split(none, missing(check), stale)?;
                self.split(fresh, seen, otherwise)
            }
        }
    }

    /// The first inside a set, the second outside.
    fn split(&mut self, region: Region, inside: Truths, outside: Truths) -> Result<Truths, OverBudget> {
        let mut choose = |inside, outside| {
            let inside = self.diagrams.both(region, inside)?;
            let outside = self.diagrams.without(outside, region)?;
            self.diagrams.either(inside, outside)
        };
        Ok(Truths {
            is_true: choose(inside.is_true, outside.is_true)?,
            is_false: choose(inside.is_false, outside.is_false)?,
        })
    }

    /// A comparison of the value in one dimension, where null is a missing one.
    fn compared(&mut self, dimension: &Dimension, check: &Check) -> Result<Truths, OverBudget> {
        let outcome = |value: &Value| match check {
            Check::Present => Some(!value.is_null()),
            Check::Absent => Some(value.is_null()),
            _ if value.is_null() => None,
            _ => compare(check, value),
        };
        Ok(Truths {
            is_true: self.values(dimension, |value| outcome(value) == Some(true))?,
            is_false: self.values(dimension, |value| outcome(value) == Some(false))?,
        })
    }

    /// P28: who holds no role has no list of them.
    fn roles(&mut self, check: &Check) -> Result<Truths, OverBudget> {
        let some = self.holding(|_| true)?;
        let none = self.diagrams.without(EVERYTHING, some)?;
        let of = |texts: &[String]| texts.iter().map(|text| Pattern::literal(text)).collect::<Vec<_>>();
        let is_true = match check {
            Check::Present => return Ok(Truths { is_true: some, is_false: none }),
            Check::Absent => return Ok(Truths { is_true: none, is_false: some }),
            Check::AllOf(texts) => {
                let all: Vec<Region> = of(texts)
                    .iter()
                    .map(|pattern| self.holding(|role| pattern.matches(role)))
                    .collect::<Result<_, _>>()?;
                self.diagrams.all(&all)?
            }
            Check::AnyOf(texts) => {
                self.holding(|role| of(texts).iter().any(|pattern| pattern.matches(role)))?
            }
            Check::NoneOf(texts) => {
                let any = self.holding(|role| of(texts).iter().any(|pattern| pattern.matches(role)))?;
                self.diagrams.without(some, any)?
            }
            // No other operator reads a list.
            _ => return Ok(Truths { is_true: NOTHING, is_false: NOTHING }),
        };
        Ok(Truths { is_true, is_false: self.diagrams.without(some, is_true)? })
    }

    fn whole_resource(&mut self, check: &Check) -> Result<Truths, OverBudget> {
        match check {
            Check::Present => return Ok(Truths { is_true: EVERYTHING, is_false: NOTHING }),
            Check::Absent => return Ok(Truths { is_true: NOTHING, is_false: EVERYTHING }),
            _ if patterns_of(check).is_empty() => {
                // A resource is neither an address nor a version.
                return Ok(Truths { is_true: NOTHING, is_false: NOTHING });
            }
            _ => {}
        }
        let (ways, is_negated) = ways_of_resource(check);
        let mut regions = Vec::new();
        for (family, way) in ways {
            let mut parts = vec![self.text(&Dimension::Family, family)?];
            let dimensions = FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, of)| *of);
            for (dimension, pattern) in dimensions.unwrap_or_default().iter().zip(way) {
                parts.push(self.values(dimension, |value| is_text(value, |text| pattern.matches(text)))?);
            }
            regions.push(self.diagrams.all(&parts)?);
        }
        let found = self.diagrams.any(&regions)?;
        let others = self.diagrams.without(EVERYTHING, found)?;
        let (is_true, is_false) = if is_negated { (others, found) } else { (found, others) };
        Ok(Truths { is_true, is_false })
    }
}

type Wanted = fn(&Value) -> bool;

/// The parameters of an action that conditions can read, and the values that it takes.
fn parameters(action: ActionType) -> &'static [(&'static str, Wanted)] {
    const OF_SCALE: [(&str, Wanted); 1] =
        [("params.replicas", |value| is_whole_up_to(value, u64::from(REPLICAS_MAX)))];
    const OF_ROLLBACK: [(&str, Wanted); 1] =
        [("params.toRevision", |value| value.is_null() || is_whole_up_to(value, u64::MAX))];
    const OF_RESTART: [(&str, Wanted); 3] = [
        ("params.duringRollout", |value| value.is_null() || value.is_boolean()),
        ("params.canary", |value| value.is_null() || value.is_boolean()),
        ("params.pods", |value| value.is_null() || RESTARTED.iter().any(|pods| value == pods)),
    ];
    match action {
        ActionType::Scale => &OF_SCALE,
        ActionType::Rollback => &OF_ROLLBACK,
        ActionType::Restart => &OF_RESTART,
        ActionType::RestartPod => &[],
    }
}

/// What a comparison says where its attribute is missing.
fn missing(check: &Check) -> Truths {
    match check {
        Check::Present => Truths { is_true: NOTHING, is_false: EVERYTHING },
        Check::Absent => Truths { is_true: EVERYTHING, is_false: NOTHING },
        _ => Truths { is_true: NOTHING, is_false: NOTHING },
    }
}

fn is_text(value: &Value, holds: impl Fn(&str) -> bool) -> bool {
    value.as_str().is_some_and(holds)
}

fn is_whole_up_to(value: &Value, most: u64) -> bool {
    value.as_u64().is_some_and(|number| number <= most)
}
