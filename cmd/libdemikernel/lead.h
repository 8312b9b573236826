/* Has threads in demi_wait take the events of connections themselves. Once is enough. */
#ifndef CATMINT_LEAD_H
#define CATMINT_LEAD_H

void catmint_provide_lead(void);

#endif
