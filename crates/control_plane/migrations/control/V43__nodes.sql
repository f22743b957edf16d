-- The nodes of a cluster, as they last said how they are.
create table madbase.nodes (
    id text primary key check (id ~ '^[a-z0-9-]{1,64}$'),
    role text not null check (role in ('system', 'proxy', 'worker')),
    -- host:port where it serves.
    address text not null check (length(address) between 1 and 300),
    zone text not null default '' check (length(zone) <= 100),
    version text not null check (length(version) between 1 and 100),
    -- ready: takes requests; draining: finishes what it has; lost: silent; left: stopped in order.
    state text not null default 'ready' check (state in ('ready', 'draining', 'lost', 'left')),
    -- An operator wants it to stop.
    drain boolean not null default false,
    requests_in_flight integer not null default 0,
    requests_per_sec real not null default 0,
    joined_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now()
);

-- A token lets one node in, once. Of its secret the hash only.
create table madbase.join_tokens (
    id text primary key,
    role text not null check (role in ('proxy', 'worker')),
    hash bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    node text
);

-- Proxies hear at once who takes requests; how much a node has to do is told to nobody.
create function madbase.tell_node() returns trigger language plpgsql set search_path = '' as $$
begin
    perform pg_catalog.pg_notify('madbase:nodes', coalesce(new.id, old.id));
    return null;
end
$$;

create trigger tell_node after insert or delete on madbase.nodes
    for each row execute function madbase.tell_node();

create trigger tell_changed_node after update on madbase.nodes
    for each row when ((old.address, old.state, old.zone) is distinct from (new.address, new.state, new.zone))
    execute function madbase.tell_node();
