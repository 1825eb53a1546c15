-- When an action was let go ahead: from then on it counts for limits, until it ends without anything
-- done. Null before that, and for dry runs, which never count.
alter table actions add column reserved_at timestamptz;

update actions set reserved_at = created_at
    where not dry_run and state in ('queued', 'running', 'unknown', 'succeeded', 'failed');

-- What limits count, by what counted actions share. The requester and the type are rarely shared with
-- more than one of the others, so these are filtered.
create index actions_reserved_namespace_idx on actions (cluster, namespace, reserved_at) where reserved_at is not null;
create index actions_reserved_cluster_idx on actions (cluster, reserved_at) where reserved_at is not null;
create index actions_reserved_principal_idx on actions (requested_by, reserved_at) where reserved_at is not null;
create index actions_reserved_type_idx on actions (type, reserved_at) where reserved_at is not null;
-- Failures of our own are few; breakers filter them.
create index actions_failed_idx on actions (updated_at) where state = 'failed' and reserved_at is not null;
