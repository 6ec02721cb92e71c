"""How is the advice received? For the team that answers for it: `/dashboard`."""
