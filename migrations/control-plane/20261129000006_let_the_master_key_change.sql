-- The key that everything stored is encrypted under, itself encrypted under the master key. Absent until the master
-- key is changed for the first time: until then the master key is that key.
create table root_key (
    is_only boolean not null default true constraint root_key_pkey primary key
        constraint root_key_is_only_check check (is_only),
    sealed_key bytea not null,
    changed_at timestamptz not null
);

grant select, insert, update on root_key to aegis_control_plane;
