-- Nodes that an operator removed: their certificates hold no longer, though they have not ended. A row may go once the
-- certificate has ended by itself, which is after 30 days.
create table madbase.removed_nodes (
    id text primary key,
    removed_at timestamptz not null default now()
);
