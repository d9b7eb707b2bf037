/*
 * limit.h
 *		A limit in time on code of others that runs inside of ours.
 *
 * When it is reached the query is cancelled as by pg_cancel_backend(); whoever set it
 * catches that error and asks cdp_limit_stop() whether it was the limit.  Of limits
 * inside each other the outer one counts: an inner one finds it set and leaves it.
 */
#ifndef CDP_LIMIT_H
#define CDP_LIMIT_H

/* Set the limit; false: there is none to stop, because it is 0 or one is set already. */
extern bool cdp_limit_start(int milliseconds);

/* End the limit; true: it had been reached. */
extern bool cdp_limit_stop(void);

#endif
