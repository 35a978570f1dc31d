"""`python -m wizard.agent`: the agent from a checkout."""

import sys

from wizard.agent.commands import main

sys.exit(main())
