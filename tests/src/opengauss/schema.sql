-- openGauss's functions, as far as its tools and ogha ask them, on top of PostgreSQL's. They are in
-- pg_catalog, as openGauss's are; where PostgreSQL has one of that name, its own gets another.
do $$
declare own record;
begin
    for own in select * from (values ('pg_stat_get_wal_senders', ''), ('pg_stat_get_wal_receiver', ''),
        ('current_setting', 'text')) as names (name, arguments)
    loop
        if pg_catalog.to_regprocedure('pg_catalog.postgresql_' || own.name || '(' || own.arguments
            || ')') is null
        then
            execute pg_catalog.format('alter function pg_catalog.%I(%s) rename to %I', own.name,
                own.arguments, 'postgresql_' || own.name);
        end if;
    end loop;
end $$;

-- PostgreSQL wants a dot in the name of a setting that it does not know.
create or replace function pg_catalog.current_setting(name text) returns text stable
language sql as $$
    select case lower(name) when 'most_available_sync'
        then coalesce(pg_catalog.current_setting('opengauss.most_available_sync', true), 'off')
        else pg_catalog.postgresql_current_setting(name) end
$$;

create or replace function pg_catalog.pg_stat_get_stream_replications(
    out local_role text, out static_connections int, out db_state text, out detail_information text)
language sql as $$
    select case when recovery then 'Standby' else 'Primary' end, 1,
        case when recovery and not streaming then 'Need repair' else 'Normal' end,
        case when recovery and not streaming
            then case when receiver then 'Connecting...' else 'Disconnected' end
            else 'Normal' end
    from (select pg_catalog.pg_is_in_recovery() as recovery,
        exists (select from pg_catalog.pg_stat_wal_receiver) as receiver,
        exists (select from pg_catalog.pg_stat_wal_receiver where status = 'streaming') as streaming
    ) as server
$$;

create or replace function pg_catalog.pg_stat_get_wal_senders(
    out pid bigint, out sender_pid int, out local_role text, out peer_role text,
    out peer_state text, out state text, out catchup_start timestamptz, out catchup_end timestamptz,
    out sender_sent_location text, out sender_write_location text, out sender_flush_location text,
    out sender_replay_location text, out receiver_received_location text,
    out receiver_write_location text, out receiver_flush_location text,
    out receiver_replay_location text, out sync_percent text, out sync_state text,
    out sync_priority int, out sync_most_available text, out channel text)
returns setof record language sql as $$
    select pid, pid, case when pg_catalog.pg_is_in_recovery() then 'Standby' else 'Primary' end,
        'Standby', 'Normal', pg_catalog.initcap(state), backend_start, backend_start,
        sent_lsn::text, sent_lsn::text, sent_lsn::text, sent_lsn::text,
        write_lsn::text, write_lsn::text, flush_lsn::text, replay_lsn::text,
        '100%', pg_catalog.initcap(sync_state), sync_priority,
        pg_catalog.initcap(coalesce(
            pg_catalog.current_setting('opengauss.most_available_sync', true), 'off')),
        pg_catalog.current_setting('port') || '-->' || pg_catalog.host(client_addr) || ':' || client_port
    from pg_catalog.pg_stat_replication
$$;

create or replace function pg_catalog.pg_stat_get_wal_receiver(
    out receiver_pid int, out local_role text, out peer_role text, out peer_state text,
    out state text, out sender_sent_location text, out sender_write_location text,
    out sender_flush_location text, out sender_replay_location text,
    out receiver_received_location text, out receiver_write_location text,
    out receiver_flush_location text, out receiver_replay_location text,
    out sync_percent text, out channel text)
returns setof record language sql as $$
    select pid, 'Standby', 'Primary', 'Normal', 'Normal',
        latest_end_lsn::text, latest_end_lsn::text, latest_end_lsn::text, latest_end_lsn::text,
        written_lsn::text, written_lsn::text, flushed_lsn::text,
        pg_catalog.pg_last_wal_replay_lsn()::text, '100%',
        pg_catalog.current_setting('port') || '<--' || sender_host || ':' || sender_port
    from pg_catalog.pg_stat_wal_receiver where status = 'streaming'
$$;

create or replace function pg_catalog.pg_current_xlog_location() returns text language sql as
    'select pg_catalog.pg_current_wal_lsn()::text';

create or replace function pg_catalog.pg_last_xlog_receive_location() returns text language sql as
    'select pg_catalog.pg_last_wal_receive_lsn()::text';

-- A record here, where PostgreSQL 9 had a position alone.
create or replace function pg_catalog.pg_last_xlog_replay_location(out term bigint, out lsn text)
language sql as $$
    select case when pg_catalog.pg_is_in_recovery() then 1 else 0 end,
        case when pg_catalog.pg_is_in_recovery()
            then pg_catalog.pg_last_wal_replay_lsn()::text else '0/0' end
$$;

create or replace function pg_catalog.gs_get_recv_locations(
    out received_lsn text, out write_lsn text, out flush_lsn text, out replay_lsn text)
language sql as $$
    select r::text, r::text, r::text, pg_catalog.pg_last_wal_replay_lsn()::text
    from (select pg_catalog.pg_last_wal_receive_lsn() as r) as received
$$;

create or replace function pg_catalog.pg_xlog_location_diff(a text, b text) returns numeric
language sql as 'select pg_catalog.pg_wal_lsn_diff(a::pg_lsn, b::pg_lsn)';
