"""Tasks forked from processes that have imported what they need, in containers like any other's."""
