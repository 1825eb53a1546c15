-- An action may write more than once, and announces each write by an `acting` row of its own. Rows from
-- before bear no number and are the first.
drop index ledger.rows_acting_key;
create unique index rows_acting_key on ledger.rows (action_id, coalesce((body ->> 'number')::integer, 1))
    where kind = 'acting';
