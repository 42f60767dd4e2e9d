"""Facts in, a plan out, the report of a run: values, pure."""
