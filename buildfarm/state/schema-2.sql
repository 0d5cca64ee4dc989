-- What version 2 of the schema adds to version 1 (schema.sql); a journal of version 1 gets it when it is opened.

-- Objects that recipes compiled without a call that came.  A row outlives its build, until a step makes its path.
CREATE TABLE unseen (
    path  BLOB PRIMARY KEY,
    build INTEGER NOT NULL,                    -- the last one that compiled it so
    via   BLOB NOT NULL                        -- programs of that build whose own calls can't be seen
) WITHOUT ROWID;
