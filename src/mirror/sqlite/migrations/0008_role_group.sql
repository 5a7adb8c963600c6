-- Which group a role's displayName rule resolved to first, so that a renamed group is known again and another group that
-- takes its name does not inherit. `seq` is the change that says so.
CREATE TABLE role_group (
    role TEXT NOT NULL,
    dir_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    group_id BLOB NOT NULL CHECK (length(group_id) = 16),
    external_id TEXT,
    seq INTEGER NOT NULL,
    PRIMARY KEY (role, dir_id, rule)
) STRICT, WITHOUT ROWID;
