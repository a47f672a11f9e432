"""Do limits, usage and revocation hold on two machines with one PostgreSQL and one Redis?"""
