{{/* The settings file: `config`, and the settings that follow from other values. */}}

{{/* Seconds of a duration such as 500ms, 90s, 1h30m or a number; 0 if it is none. */}}
{{- define "lighterage.seconds" -}}
{{- /* Without a format a million would be printed as 1e+06. */ -}}
{{- $text := ternary (printf "%.3f" .) (toString .) (kindIs "float64" .) | replace " " "" -}}
{{- $units := dict "ms" 0.001 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?[a-z]*" $text -1 -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" . | float64 -}}
{{- $total = addf $total (mulf $number (get $units (regexFind "[a-z]*$" .) | default 1.0)) -}}
{{- end -}}
{{- $total | ceil | int64 -}}
{{- end -}}

{{/* MiB of a size such as 50GiB, 100Gi, 1T or a number of bytes; 0 if it is none. */}}
{{- define "lighterage.mebibytes" -}}
{{- $text := . -}}
{{- if kindIs "float64" . }}{{ $text = int64 . }}{{ end -}}
{{- $text = toString $text | replace " " "" -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" $text | default "0" | float64 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text | trimSuffix "B" -}}
{{- $binary := dict "Ki" 0.0009765625 "Mi" 1.0 "Gi" 1024.0 "Ti" 1048576.0 -}}
{{- $decimal := dict "k" 0.00095367431640625 "M" 0.95367431640625 "G" 953.67431640625 "T" 953674.31640625 -}}
{{- mulf $number (get (merge $binary $decimal) $unit | default 0.00000095367431640625) | floor | int64 -}}
{{- end -}}

{{/* The Secret with the key of the HMACs in Redis; none if no Redis is configured. */}}
{{- define "lighterage.redis.key.secret" -}}
{{- $manifests := (.Values.config | default dict).manifests | default dict -}}
{{- $uses := or .Values.redis.bundled.enabled .Values.redis.urlKey (eq (get $manifests "store" | default "") "redis") -}}
{{- if .Values.redis.hmacKey.existingSecret -}}
{{ .Values.redis.hmacKey.existingSecret }}
{{- else if and .Values.redis.hmacKey.create $uses -}}
{{ include "lighterage.fullname" . }}-redis-key
{{- end -}}
{{- end -}}

{{/* Whether some repositories are not open to every client. */}}
{{- define "lighterage.access.isClosed" -}}
{{- $access := (.Values.config | default dict).access | default dict -}}
{{- if or (get $access "rules") (ne (get $access "mode" | default "open") "open") }}yes{{ end -}}
{{- end -}}

{{/* The Secret with the key of clients' tokens; nothing where every client may pull everything. */}}
{{- define "lighterage.access.key.secret" -}}
{{- if .Values.access.tokenKey.existingSecret -}}
{{ .Values.access.tokenKey.existingSecret }}
{{- else if and .Values.access.tokenKey.create (include "lighterage.access.isClosed" .) -}}
{{ include "lighterage.fullname" . }}-token-key
{{- end -}}
{{- end -}}

{{/* Whether replicas are one cache. */}}
{{- define "lighterage.peers.isOn" -}}
{{- if kindIs "bool" .Values.peers.enabled -}}
{{- if .Values.peers.enabled }}yes{{ end -}}
{{- else -}}
{{ include "lighterage.areSeveral" . }}
{{- end -}}
{{- end -}}

{{/* The Secret that replicas share; nothing where they are not one cache. */}}
{{- define "lighterage.peers.secret" -}}
{{- if include "lighterage.peers.isOn" . -}}
{{- if .Values.peers.secret.existingSecret -}}
{{ .Values.peers.secret.existingSecret }}
{{- else if .Values.peers.secret.create -}}
{{ include "lighterage.fullname" . }}-peer-secret
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The settings that name the files of the Secrets in `credentials`, below /run/lighterage. */}}
{{- define "lighterage.credentials.settings" -}}
{{- $upstreams := dict -}}
{{- range $name, $login := .Values.credentials -}}
{{- $kind := default "basic" $login.kind -}}
{{- $setting := get (dict "basic" "password_file" "token" "token_file" "dockerconfigjson" "docker_config_file") $kind -}}
{{- $file := printf "/run/lighterage/credentials/%s" $name -}}
{{- $_ := set $upstreams $name (dict "credentials" (dict $setting $file)) -}}
{{- end -}}
{{- if $upstreams }}{{ toYaml (dict "upstreams" $upstreams) }}{{ end -}}
{{- end -}}

{{- define "lighterage.bucket.store" -}}
{{- dig "blobs" "store" "disk" (.Values.config | default dict) -}}
{{- end -}}

{{/* The settings that name the files of the Secrets in `storage.bucket`. */}}
{{- define "lighterage.bucket.settings" -}}
{{- $store := include "lighterage.bucket.store" . -}}
{{- $files := dict -}}
{{- if .Values.storage.bucket.existingSecret -}}
{{- $setting := get (dict "s3" "secret_access_key_file" "gcs" "service_account_file" "azure" "access_key_file") $store -}}
{{- $_ := set $files $setting "/run/lighterage/bucket/secret" -}}
{{- if eq $store "s3" }}{{ $_ := set $files "access_key_id_file" "/run/lighterage/bucket/id" }}{{ end -}}
{{- end -}}
{{- if .Values.storage.bucket.caSecret }}{{ $_ := set $files "ca_file" "/run/lighterage/bucket/ca.crt" }}{{ end -}}
{{- if and $files (ne $store "disk") }}{{ toYaml (dict "blobs" (dict $store $files)) }}{{ end -}}
{{- end -}}

{{/* The settings that follow from other values. */}}
{{- define "lighterage.derived" -}}
{{- $derived := dict -}}
{{- with include "lighterage.credentials.settings" . }}{{ $_ := merge $derived (fromYaml .) }}{{ end -}}
{{- with include "lighterage.bucket.settings" . }}{{ $_ := merge $derived (fromYaml .) }}{{ end -}}
{{- $service := printf "%s-admin" (include "lighterage.fullname" .) -}}
{{- $inNamespace := printf "%s.%s" $service (include "lighterage.namespace" .) -}}
{{- $hosts := list $service $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.cluster.local" $inNamespace) -}}
{{- $admin := dict "hosts" (concat $hosts .Values.adminService.hosts) -}}
{{- if .Values.adminService.existingSecret }}{{ $_ := set $admin "token_file" "/run/lighterage/admin/token" }}{{ end -}}
{{- $_ := merge $derived (dict "admin" $admin) -}}
{{- if .Values.signingKey.existingSecret -}}
{{- $_ := merge $derived (dict "conversion" (dict "signing_key_file" "/run/lighterage/signing-key.pem")) -}}
{{- end -}}
{{- $access := dict -}}
{{- if .Values.access.htpasswd.existingSecret }}{{ $_ := set $access "htpasswd_file" "/run/lighterage/htpasswd" }}{{ end -}}
{{- if include "lighterage.access.key.secret" . }}{{ $_ := set $access "token_key_file" "/run/lighterage/token-key" }}{{ end -}}
{{- if $access }}{{ $_ := merge $derived (dict "access" $access) }}{{ end -}}
{{- if .Values.access.clientCaSecret -}}
{{- $_ := merge $derived (dict "tls" (dict "client_ca_file" "/run/lighterage/client-ca.crt")) -}}
{{- end -}}
{{- if .Values.tls.existingSecret -}}
{{- $files := dict "certificate_file" "/run/lighterage/tls/tls.crt" "key_file" "/run/lighterage/tls/tls.key" -}}
{{- $_ := merge $derived (dict "tls" $files) -}}
{{- end -}}
{{- if include "lighterage.peers.isOn" . -}}
{{- $name := printf "%s-peers.%s.svc" (include "lighterage.fullname" .) (include "lighterage.namespace" .) -}}
{{- $port := int .Values.peers.port -}}
{{- $peers := dict "listen" (printf "%s:%d" .Values.listenHost $port) "discover" (list (printf "dns:%s:%d" $name $port)) "secret_file" "/run/lighterage/peer-secret" -}}
{{- $_ := merge $derived (dict "peers" $peers) -}}
{{- end -}}
{{- $redis := dict -}}
{{- if .Values.redis.bundled.enabled -}}
{{- $_ := set $redis "url" (printf "redis://%s-redis.%s.svc:6379/0" (include "lighterage.fullname" .) (include "lighterage.namespace" .)) -}}
{{- end -}}
{{- if and .Values.redis.existingSecret .Values.redis.passwordKey -}}
{{- $_ := set $redis "password_file" "/run/lighterage/redis/password" -}}
{{- end -}}
{{- if and .Values.redis.existingSecret .Values.redis.sentinelPasswordKey -}}
{{- $_ := set $redis "sentinel_password_file" "/run/lighterage/redis/sentinel-password" -}}
{{- end -}}
{{- if .Values.redis.tlsSecret -}}
{{- $_ := set $redis "ca_file" "/run/lighterage/redis/ca.crt" -}}
{{- if .Values.redis.clientCertificate -}}
{{- $_ := merge $redis (dict "certificate_file" "/run/lighterage/redis/tls.crt" "key_file" "/run/lighterage/redis/tls.key") -}}
{{- end -}}
{{- end -}}
{{- if include "lighterage.redis.key.secret" . -}}
{{- $_ := set $redis "hmac_key_file" "/run/lighterage/redis-hmac.key" -}}
{{- end -}}
{{- if or $redis .Values.redis.urlKey -}}
{{- $_ := merge $derived (dict "manifests" (dict "store" "redis" "redis" $redis)) -}}
{{- end -}}
{{ toYaml $derived }}
{{- end -}}

{{/* The chart's defaults for sizes that `config` does not set. */}}
{{- define "lighterage.defaults" -}}
{{- $size := include "lighterage.mebibytes" .Values.storage.size | int64 -}}
{{- if eq .Values.storage.layout "bucket" }}
limits: {spool: {{ div (mul $size 90) 100 }}MiB}
{{- else }}
blobs: {max_size: {{ div (mul $size 70) 100 }}MiB}
limits: {spool: {{ div (mul $size 20) 100 }}MiB}
{{- end }}
{{- end -}}

{{/* The whole file. */}}
{{- define "lighterage.settings" -}}
{{- $defaults := include "lighterage.defaults" . | fromYaml -}}
{{- $derived := include "lighterage.derived" . | fromYaml -}}
{{ toYaml (mustMergeOverwrite $defaults (deepCopy (.Values.config | default dict)) $derived) }}
{{- end -}}

{{/* A digest of the settings that need a restart: a change of it replaces the pods. */}}
{{- define "lighterage.settings.fixed" -}}
{{- $fixed := omit (include "lighterage.settings" . | fromYaml) "tags" "negative_cache" "budget" "access" -}}
{{- $audit := get (get (include "lighterage.settings" . | fromYaml) "access" | default dict) "audit" -}}
{{- $_ := set $fixed "audit" $audit -}}
{{- range $name, $upstream := get $fixed "upstreams" | default dict -}}
{{- with $upstream }}{{ $_ := unset . "offline" }}{{ end -}}
{{- end -}}
{{- $fixed | toYaml | sha256sum -}}
{{- end -}}

{{- define "lighterage.usesRedis" -}}
{{- $manifests := get (include "lighterage.settings" . | fromYaml) "manifests" | default dict -}}
{{- if or (eq (get $manifests "store" | default "sqlite") "redis") .Values.existingConfigMap -}}yes{{- end -}}
{{- end -}}
