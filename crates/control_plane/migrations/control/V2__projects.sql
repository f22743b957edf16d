-- What the control plane knows: projects, who changed what, and what this installation was last brought up to.
create sequence madbase.project_version;

create table madbase.projects (
    id uuid primary key,
    ref text not null check (ref ~ '^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$'),
    name text not null check (length(name) between 1 and 200),
    database text not null,
    settings jsonb not null default '{}',
    secrets bytea not null,
    -- From one sequence for all projects, so that a project deleted and made anew never repeats a version.
    version bigint not null default nextval('madbase.project_version'),
    -- What the project's database was last brought up to; empty until it was provisioned once.
    fingerprint text not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Set first when a project is deleted; its database and logins go next, then `dropped_at` is set.
    deleted_at timestamptz,
    dropped_at timestamptz
);

create unique index projects_ref on madbase.projects (ref) where dropped_at is null;
create unique index projects_database on madbase.projects (database) where dropped_at is null;

create table madbase.audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    who text not null,
    action text not null,
    project text,
    detail jsonb not null default '{}'
);

create index audit_log_project on madbase.audit_log (project, id desc);

create table madbase.installation (
    only_row boolean primary key default true check (only_row),
    fingerprint text not null default ''
);

insert into madbase.installation default values;
