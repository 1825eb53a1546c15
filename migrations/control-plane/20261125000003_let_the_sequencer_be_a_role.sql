-- What gives entries their places may do that and nothing else, and the application's own sessions may not.
do $$
begin
    if not exists (select from pg_roles where rolname = 'aegis_sequencer') then
        raise exception 'there is no role aegis_sequencer' using hint =
            'As a superuser: create role aegis_sequencer nologin; grant aegis_sequencer to aegis_control_plane; '
            'alter role aegis_control_plane noinherit;';
    end if;
    if (select rolinherit from pg_roles where rolname = 'aegis_control_plane') then
        raise exception 'the role aegis_control_plane has the rights of aegis_sequencer without taking it' using hint =
            'As a superuser: alter role aegis_control_plane noinherit;';
    end if;
end
$$;

revoke execute on function audit.begin_epoch, audit.integrate from aegis_control_plane;
grant usage on schema audit to aegis_sequencer;
grant execute on function audit.begin_epoch, audit.integrate to aegis_sequencer;
grant select on audit.waiting, audit.tiles, audit.checkpoints, audit.log_keys, audit.retired_log_keys
    to aegis_sequencer;
