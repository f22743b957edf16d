-- Certificates. What signs for the cluster's nodes, and what proxies show to the world; keys are sealed under the master key.

create table madbase.authority (
    only_row boolean primary key default true check (only_row),
    -- PEM.
    certificate text not null,
    key text not null,
    created_at timestamptz not null default now()
);

-- Who we are at the authorities that speak ACME, by the address of their directory.
create table madbase.acme_accounts (
    directory text primary key,
    credentials text not null,
    created_at timestamptz not null default now()
);

create table madbase.certificates (
    domain text primary key,
    -- PEM; null until the first certificate is there.
    chain text,
    key text,
    not_before timestamptz,
    not_after timestamptz,
    -- The next attempt to get one.
    due_at timestamptz not null default now(),
    -- An order under way, and the key that its certificate will have.
    order_url text,
    order_key text,
    failures integer not null default 0,
    last_error text,
    tried_at timestamptz,
    check ((chain is null) = (key is null) and (chain is null) = (not_after is null))
);

create table madbase.acme_challenges (
    token text primary key,
    domain text not null,
    kind text not null check (kind in ('http-01', 'tls-alpn-01')),
    key_authorization text not null,
    expires_at timestamptz not null default now() + interval '1 hour'
);

create index acme_challenges_domain on madbase.acme_challenges (domain, kind);

-- Proxies show a new certificate at once.
create function madbase.tell_certificate() returns trigger language plpgsql set search_path = '' as $$
begin
    perform pg_catalog.pg_notify('madbase_certificates', new.domain);
    return null;
end
$$;

create trigger tell_certificate after insert or update of chain on madbase.certificates
    for each row execute function madbase.tell_certificate();
