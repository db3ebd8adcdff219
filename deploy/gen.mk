# Generated files: definitions, chart copies, API reference, values schema, quickstart; included by the Makefile.
.PHONY: gen gen-check
gen: sync ## Write all generated files: CRDs, chart schema and README, API reference, quickstart
	@$(PY) deploy/gen/generate.py
gen-check: sync ## Fail if a generated file is not current
	@$(PY) deploy/gen/generate.py --check
