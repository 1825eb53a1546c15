//! Sets of questions, as decision diagrams: a question walks down from dimension to dimension, and
//! ends at everything (it belongs to the set) or at nothing. Equal sets are the same diagram, so that
//! asking whether a set is empty costs nothing.

use rustc_hash::FxHashMap;

/// The analysis would take more steps than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverBudget;

/// A set of questions; it means something only to the [`Diagrams`] that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Region(u32);

/// No question.
pub(super) const NOTHING: Region = Region(0);
/// Every question.
pub(super) const EVERYTHING: Region = Region(1);

/// Where questions part by their value in one dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    dimension: u32,
    /// Where value 0 goes, and every value that is no exception.
    otherwise: Region,
    /// Sorted by value, never value 0, and none goes where `otherwise` goes.
    exceptions: Vec<(u32, Region)>,
}

/// The three ways to join two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Join {
    Intersection,
    Union,
    Difference,
}

/// All diagrams of one analysis. Every method that makes one costs steps, and refuses when none are
/// left.
#[derive(Debug)]
pub(super) struct Diagrams {
    nodes: Vec<Node>,
    known: FxHashMap<Node, Region>,
    joined: FxHashMap<(Join, Region, Region), Region>,
    steps_left: u64,
}

/// Values of one dimension that a set is made of, on the way down.
type Ways = Vec<(u32, Region)>;

impl Diagrams {
    /// No diagrams yet, and this many steps to make some.
    pub(super) fn new(steps: u64) -> Self {
        Self {
            nodes: Vec::new(),
            known: FxHashMap::default(),
            joined: FxHashMap::default(),
            steps_left: steps,
        }
    }

    /// The questions that have one of these values in a dimension: those for which `holds` is true.
    pub(super) fn values(
        &mut self,
        dimension: u32,
        holds: impl Iterator<Item = bool>,
    ) -> Result<Region, OverBudget> {
        let mut ways = holds.map(|holds| if holds { EVERYTHING } else { NOTHING });
        let otherwise = ways.next().unwrap_or(NOTHING);
        let exceptions = (1..).zip(ways).filter(|(_, way)| *way != otherwise).collect();
        self.node(dimension, otherwise, exceptions)
    }

    /// The questions of both.
    pub(super) fn both(&mut self, left: Region, right: Region) -> Result<Region, OverBudget> {
        self.join(Join::Intersection, left, right)
    }

    /// The questions of either.
    pub(super) fn either(&mut self, left: Region, right: Region) -> Result<Region, OverBudget> {
        self.join(Join::Union, left, right)
    }

    /// The questions of the first that are not of the second.
    pub(super) fn without(&mut self, left: Region, right: Region) -> Result<Region, OverBudget> {
        self.join(Join::Difference, left, right)
    }

    /// The questions of all of them.
    pub(super) fn all(&mut self, regions: &[Region]) -> Result<Region, OverBudget> {
        regions.iter().try_fold(EVERYTHING, |all, region| self.both(all, *region))
    }

    /// The questions of any of them. Joined in pairs, and those in pairs: many small sets stay small
    /// for as long as possible.
    pub(super) fn any(&mut self, regions: &[Region]) -> Result<Region, OverBudget> {
        match regions {
            [] => Ok(NOTHING),
            [region] => Ok(*region),
            _ => {
                let (left, right) = regions.split_at(regions.len() / 2);
                let (left, right) = (self.any(left)?, self.any(right)?);
                self.either(left, right)
            }
        }
    }

    /// One question of the set: its value in each dimension that matters, all others being 0. Of
    /// several, the one with the lowest values in the first dimensions.
    pub(super) fn pick(&self, region: Region) -> Option<Vec<(u32, u32)>> {
        let mut picked = Vec::new();
        let mut region = region;
        while let Some(node) = self.get(region) {
            let ways = std::iter::once((0, node.otherwise)).chain(node.exceptions.iter().copied());
            // Only nothing is empty, so that every other way leads to everything.
            let (value, way) = ways.into_iter().find(|(_, way)| *way != NOTHING)?;
            picked.push((node.dimension, value));
            region = way;
        }
        (region == EVERYTHING).then_some(picked)
    }

    fn get(&self, region: Region) -> Option<&Node> {
        self.nodes.get((region.0 as usize).checked_sub(2)?)
    }

    fn node(
        &mut self,
        dimension: u32,
        otherwise: Region,
        exceptions: Vec<(u32, Region)>,
    ) -> Result<Region, OverBudget> {
        if exceptions.is_empty() {
            return Ok(otherwise);
        }
        let steps = exceptions.len() as u64 + 1;
        self.steps_left = self.steps_left.checked_sub(steps).ok_or(OverBudget)?;
        let node = Node { dimension, otherwise, exceptions };
        if let Some(region) = self.known.get(&node) {
            return Ok(*region);
        }
        let region = Region(u32::try_from(self.nodes.len() + 2).map_err(|_| OverBudget)?);
        self.nodes.push(node.clone());
        self.known.insert(node, region);
        Ok(region)
    }

    fn join(&mut self, join: Join, left: Region, right: Region) -> Result<Region, OverBudget> {
        if let Some(region) = join.at_once(left, right) {
            return Ok(region);
        }
        // What does not depend on the order is looked up in one order.
        let key = match join {
            Join::Difference => (join, left, right),
            _ => (join, left.min(right), left.max(right)),
        };
        if let Some(region) = self.joined.get(&key) {
            return Ok(*region);
        }
        self.steps_left = self.steps_left.checked_sub(1).ok_or(OverBudget)?;
        let dimension = [left, right].iter().filter_map(|region| Some(self.get(*region)?.dimension)).min();
        let Some(dimension) = dimension else { return Ok(join.of(left, right)) };
        let (left_otherwise, left_ways) = self.ways(left, dimension);
        let (right_otherwise, right_ways) = self.ways(right, dimension);
        let otherwise = self.join(join, left_otherwise, right_otherwise)?;
        let mut exceptions = Vec::with_capacity(left_ways.len() + right_ways.len());
        for (value, left, right) in merged(&left_ways, left_otherwise, &right_ways, right_otherwise) {
            let way = self.join(join, left, right)?;
            if way != otherwise {
                exceptions.push((value, way));
            }
        }
        let region = self.node(dimension, otherwise, exceptions)?;
        self.joined.insert(key, region);
        Ok(region)
    }

    /// Where a set goes from this dimension on.
    fn ways(&self, region: Region, dimension: u32) -> (Region, Ways) {
        match self.get(region) {
            Some(node) if node.dimension == dimension => (node.otherwise, node.exceptions.clone()),
            _ => (region, Vec::new()),
        }
    }
}

/// Every value that is an exception on either side, with where it goes on both.
fn merged(
    left: &Ways,
    left_otherwise: Region,
    right: &Ways,
    right_otherwise: Region,
) -> Vec<(u32, Region, Region)> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut merged = Vec::new();
    loop {
        let value = match (left.peek(), right.peek()) {
            (None, None) => return merged,
            (Some((value, _)), None) | (None, Some((value, _))) => *value,
            (Some((first, _)), Some((second, _))) => *first.min(second),
        };
        let on_left = left.next_if(|(of, _)| *of == value).map_or(left_otherwise, |(_, way)| *way);
        let on_right = right.next_if(|(of, _)| *of == value).map_or(right_otherwise, |(_, way)| *way);
        merged.push((value, on_left, on_right));
    }
}

impl Join {
    /// The result where it needs no look at the diagrams.
    fn at_once(self, left: Region, right: Region) -> Option<Region> {
        match (self, left, right) {
            (Self::Intersection, NOTHING, _) | (Self::Intersection, _, NOTHING) => Some(NOTHING),
            (Self::Intersection, EVERYTHING, other) | (Self::Intersection, other, EVERYTHING) => Some(other),
            (Self::Union, EVERYTHING, _) | (Self::Union, _, EVERYTHING) => Some(EVERYTHING),
            (Self::Union, NOTHING, other) | (Self::Union | Self::Difference, other, NOTHING) => Some(other),
            (Self::Difference, NOTHING, _) | (Self::Difference, _, EVERYTHING) => Some(NOTHING),
            (Self::Intersection | Self::Union, left, right) if left == right => Some(left),
            (Self::Difference, left, right) if left == right => Some(NOTHING),
            _ => None,
        }
    }

    /// The result for everything and nothing.
    fn of(self, left: Region, right: Region) -> Region {
        let (left, right) = (left == EVERYTHING, right == EVERYTHING);
        let belongs = match self {
            Self::Intersection => left && right,
            Self::Union => left || right,
            Self::Difference => left && !right,
        };
        if belongs { EVERYTHING } else { NOTHING }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three dimensions of three values each.
    fn universe() -> Vec<[u32; 3]> {
        let values = || 0..3u32;
        values().flat_map(|a| values().flat_map(move |b| values().map(move |c| [a, b, c]))).collect()
    }

    impl Diagrams {
        fn holds(&self, region: Region, question: [u32; 3]) -> bool {
            let mut region = region;
            while let Some(node) = self.get(region) {
                let value = question[node.dimension as usize];
                let exception = node.exceptions.iter().find(|(of, _)| *of == value);
                region = exception.map_or(node.otherwise, |(_, way)| *way);
            }
            region == EVERYTHING
        }
    }

    #[test]
    fn sets_are_joined_as_sets_are_and_equal_ones_are_the_same() {
        let mut diagrams = Diagrams::new(u64::MAX);
        let mut sets = vec![NOTHING, EVERYTHING];
        for dimension in 0..3 {
            for bits in [0b001u32, 0b010, 0b110, 0b101] {
                let holds = (0..3).map(|value| bits >> value & 1 == 1);
                sets.push(diagrams.values(dimension, holds).unwrap());
            }
        }
        // Sets of sets, so that all three dimensions meet.
        for index in 0..sets.len() {
            let joined = diagrams.either(sets[index], sets[(index * 5 + 3) % sets.len()]).unwrap();
            sets.push(joined);
        }
        for left in &sets {
            for right in &sets {
                let joined = [
                    diagrams.both(*left, *right).unwrap(),
                    diagrams.either(*left, *right).unwrap(),
                    diagrams.without(*left, *right).unwrap(),
                ];
                for question in universe() {
                    let (in_left, in_right) =
                        (diagrams.holds(*left, question), diagrams.holds(*right, question));
                    let expected = [in_left && in_right, in_left || in_right, in_left && !in_right];
                    assert_eq!(joined.map(|region| diagrams.holds(region, question)), expected);
                }
                let same = universe().iter().all(|q| diagrams.holds(*left, *q) == diagrams.holds(*right, *q));
                assert_eq!(same, left == right);
            }
        }
    }

    #[test]
    fn one_question_of_every_set_but_the_empty_one_can_be_picked() {
        let mut diagrams = Diagrams::new(u64::MAX);
        let first = diagrams.values(0, [false, true, true].into_iter()).unwrap();
        let last = diagrams.values(2, [true, false, true].into_iter()).unwrap();
        let region = diagrams.without(first, last).unwrap();
        assert_eq!(diagrams.pick(region), Some(vec![(0, 1), (2, 1)]));
        assert_eq!(diagrams.pick(EVERYTHING), Some(Vec::new()));
        assert_eq!(diagrams.pick(NOTHING), None);
    }

    #[test]
    fn nothing_is_made_when_no_steps_are_left() {
        let mut diagrams = Diagrams::new(2);
        let one = diagrams.values(0, [false, true].into_iter()).unwrap();
        assert_eq!(diagrams.values(1, [false, true].into_iter()), Err(OverBudget));
        assert_eq!(diagrams.both(one, EVERYTHING), Ok(one));
    }
}
