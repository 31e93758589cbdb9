# Builds and package managers: make -j, configure, pip into a virtual environment, npm install.
# shellcheck shell=bash
_build_file=${BASH_SOURCE[0]}
. "$(dirname "$_build_file")/common/cases.sh"

suite_about() { echo 'build: make -j4 of 100 files, what is rebuilt after a touch, autoconf and configure, pip and npm install'; }
suite_get() { debian build gcc libc6-dev make autoconf python3 python3-venv; }
suite_run() { run_cases "$_build_file" "$@"; }

files() { if [ "$size" = full ]; then echo 400; else echo 60; fi; }
project() {
  local n
  for n in $(seq "$(files)"); do
    printf '#include "common.h"\nint f%s(void) { return BASE + %s; }\n' "$n" "$n" >"f$n.c"
  done
  echo '#define BASE 1' >common.h
  { for n in $(seq "$(files)"); do echo "int f$n(void);"; done; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'; for n in $(seq "$(files)"); do echo "s += f$n();"; done; echo 'printf("%d\n", s); return 0; }'; } >main.c
  cat >Makefile <<'M'
OBJS := $(patsubst %.c,%.o,$(wildcard *.c))
all: prog
prog: $(OBJS)
	$(CC) -o $@ $^
%.o: %.c
	$(CC) -MMD -O0 -c -o $@ $<
-include $(OBJS:.o=.d)
M
}
compiled() { grep -c -- ' -c -o ' made || true; }
case_make() {
  local n
  n=$(files)
  project
  make -s -j4 all
  same sum $((n * (n + 1) / 2 + n)) "$(./prog)"
  make -j4 all >made
  same 'rebuilt after nothing' 0 "$(compiled)"
  sleep 0.05
  touch f7.c
  make -j4 all >made
  same 'rebuilt after one touch' 1 "$(compiled)"
  sleep 0.05
  echo '#define BASE 2' >common.h
  make -j4 all >made
  same 'rebuilt after the header' "$n" "$(compiled)"
  same sum $((n * (n + 1) / 2 + 2 * n)) "$(./prog)"
  ar rcs lib.a f*.o
  ranlib lib.a
  gcc -o other main.c lib.a
  same sum "$(./prog)" "$(./other)"
  strip other
  same sum "$(./prog)" "$(./other)"
}
case_configure() {
  cat >configure.ac <<'A'
AC_INIT([t], [1])
AC_CONFIG_HEADERS([config.h])
AC_PROG_CC
AC_CHECK_HEADERS([stdlib.h no_such_header.h])
AC_CHECK_FUNCS([mmap no_such_function])
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
A
  printf 'all: t\nt: t.c\n\t@CC@ -o t t.c\ninstall: all\n\tinstall -D -m 755 t $(DESTDIR)@prefix@/bin/t\n' >Makefile.in
  printf '#include "config.h"\n#if !defined HAVE_MMAP || defined HAVE_NO_SUCH_FUNCTION\n#error wrong\n#endif\nint main(void) { return 0; }\n' >t.c
  autoheader 2>/dev/null
  autoconf
  ./configure --prefix=/opt/t -q
  make -s install DESTDIR="$PWD/root"
  root/opt/t/bin/t
  same mode 755 "$(stat -c %a root/opt/t/bin/t)"
  ./config.status -q
}
case_pip() {
  # Debian's own Python: the one of a version manager lies in somebody's home.
  /usr/bin/python3 -m venv v
  v/bin/pip install --quiet --disable-pip-version-check --no-input --cache-dir "$PWD/cache" six==1.16.0 markupsafe==2.1.5 2>said \
    || skip "the registry does not answer: $(last_line said)"
  same version '1.16.0 2.1.5' "$(v/bin/python -c 'import six, markupsafe; print(six.__version__, markupsafe.__version__)')"
  v/bin/python -c 'import markupsafe._speedups'
  v/bin/python -m compileall -q -f v/lib
  v/bin/pip check --disable-pip-version-check >/dev/null
  v/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-input --cache-dir "$PWD/cache" six==1.16.0
  v/bin/pip uninstall --quiet -y six markupsafe
  if v/bin/python -c 'import six' 2>/dev/null; then wrong 'six is still there'; fi
  same 'left in site-packages' 0 "$(find v/lib -name '*six*' -path '*site-packages/six*' | wc -l)"
}
case_npm() {
  command -v npm >/dev/null || skip 'no npm on this machine'
  echo '{"name": "t", "version": "1.0.0", "private": true}' >package.json
  HOME=$PWD npm install --silent --no-audit --no-fund --cache "$PWD/cache" semver@7.6.0 lodash@4.17.21 mkdirp@3.0.1 >said 2>&1 \
    || skip "the registry does not answer: $(last_line said)"
  same answer '1.2.3 3' "$(node -e 'const s = require("semver"), l = require("lodash"); console.log(s.clean(" =v1.2.3 "), l.sum([1, 2]))')"
  # npm links programs of packages.
  same link 7.6.0 "$(node_modules/.bin/semver 7.6.0)"
  rm -r node_modules
  HOME=$PWD npm ci --silent --offline --no-audit --no-fund --cache "$PWD/cache"
  same answer 3 "$(node -p 'require("lodash").sum([1, 2])')"
  HOME=$PWD npm uninstall --silent --no-audit --no-fund --cache "$PWD/cache" lodash
  [ ! -e node_modules/lodash ]
}
