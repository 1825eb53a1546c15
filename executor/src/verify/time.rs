//! Whether an order may still, or already, be begun.

use aegis_contract::code::RefusalCode;
use aegis_contract::order::{CLOCK_AHEAD_SECONDS_MAX, ORDER_LIFETIME_SECONDS_MAX, Order};
use jiff::{SignedDuration, Timestamp};

use super::Refusal;

/// Refuses an order whose time is over, has not come, or is longer than orders live.
pub(crate) fn check_time(order: &Order, now: Timestamp) -> Result<(), Refusal> {
    if has_passed(order.not_after, now) {
        return Err(Refusal::new(
            RefusalCode::OrderExpired,
            format!("the order expired at {}; it is {now}", order.not_after),
        ));
    }
    if order.issued_at.duration_since(now) > SignedDuration::from_secs(CLOCK_AHEAD_SECONDS_MAX.into()) {
        return Err(Refusal::new(
            RefusalCode::OrderFromFuture,
            format!("the order was signed at {}; it is {now}", order.issued_at),
        ));
    }
    let lifetime_max = SignedDuration::from_secs(ORDER_LIFETIME_SECONDS_MAX.into());
    if order.not_after.duration_since(order.issued_at) > lifetime_max {
        return Err(Refusal::new(
            RefusalCode::LifetimeTooLong,
            format!("an order lives at most {ORDER_LIFETIME_SECONDS_MAX} s"),
        ));
    }
    Ok(())
}

/// Whether nothing may be begun any more.
pub(crate) fn has_passed(not_after: Timestamp, now: Timestamp) -> bool {
    now > not_after
}

#[cfg(test)]
mod tests {
    use aegis_contract::order::Instruction;

    use super::super::tests::{noon, order, sound_act};
    use super::*;

    fn code(issued: i64, not_after: i64) -> Option<RefusalCode> {
        let mut order = order(Instruction::Act(Box::new(sound_act())));
        order.issued_at = noon() + SignedDuration::from_secs(issued);
        order.not_after = noon() + SignedDuration::from_secs(not_after);
        check_time(&order, noon()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn an_order_is_accepted_exactly_within_its_time() {
        for (issued, not_after, expected) in [
            (0, 30, None),
            (-30, 0, None),
            (-30, -1, Some(RefusalCode::OrderExpired)),
            (5, 35, None),
            (6, 36, Some(RefusalCode::OrderFromFuture)),
            (0, 60, None),
            (0, 61, Some(RefusalCode::LifetimeTooLong)),
            (-100, -50, Some(RefusalCode::OrderExpired)),
        ] {
            assert_eq!(code(issued, not_after), expected, "{issued} to {not_after}");
        }
    }
}
