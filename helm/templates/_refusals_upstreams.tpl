{{/* Messages about values for upstreams and their logins that cannot work. */}}

{{- define "lighterage.refuse.upstreams" -}}
{{- $values := .Values -}}
{{- $config := $values.config | default dict -}}
{{- $upstreams := $config.upstreams | default dict -}}
{{- $lent := keys ($values.credentials | default dict) -}}
{{- $messages := list -}}

{{- $defaults := list -}}
{{- range $name, $upstream := $upstreams }}{{ if $upstream.default }}{{ $defaults = append $defaults $name }}{{ end }}{{ end -}}
{{- if and (gt (len $upstreams) 1) (not $defaults) -}}
{{- $messages = append $messages "config.upstreams: none is the default for images that name no registry, such as library/alpine. Set default: true in one of them, usually docker.io." -}}
{{- else if gt (len $defaults) 1 -}}
{{- $messages = append $messages (printf "config.upstreams: %s have default: true, but only one can be the default. Remove it from the others." ($defaults | sortAlpha | join " and ")) -}}
{{- end -}}

{{- $seen := dict -}}
{{- range $name, $upstream := $upstreams -}}
{{- range $known := prepend ($upstream.aliases | default list) $name -}}
{{- if not (regexMatch "^[a-z0-9]+([._/-]+[a-z0-9]+)*(:[0-9]+)?$" $known) -}}
{{- $messages = append $messages (printf "config.upstreams: %s is not a valid name for an upstream. Use the registry's host, as in the names of images, such as quay.io. Its address is in url." $known) -}}
{{- end -}}
{{- if hasKey $seen $known -}}
{{- $messages = append $messages (printf "config.upstreams: %s is a name or an alias of both %s and %s. Remove it from one of them." $known (get $seen $known) $name) -}}
{{- end -}}
{{- $_ := set $seen $known $name -}}
{{- end -}}
{{- range $place := prepend ($upstream.mirrors | default list) $upstream -}}
{{- with $place.credentials -}}
{{- $lent = append $lent $name -}}
{{- if hasKey . "password" -}}
{{- $messages = append $messages (printf "config.upstreams.%s has a password: a ConfigMap is not for secrets. Put it into a Secret, and name that in credentials.%s.existingSecret." $name $name) -}}
{{- else if ne 1 (len (compact (list .password_file .token_file .docker_config_file))) -}}
{{- $messages = append $messages (printf "config.upstreams.%s.credentials: set one of password_file, token_file and docker_config_file. Or remove it, and name a Secret in credentials.%s.existingSecret." $name $name) -}}
{{- else if and .password_file (not .username) -}}
{{- $messages = append $messages (printf "config.upstreams.%s.credentials: a password needs a username." $name) -}}
{{- else if and .docker_config_file .username -}}
{{- $messages = append $messages (printf "config.upstreams.%s.credentials: docker_config_file contains the username. Remove one of them." $name) -}}
{{- end -}}
{{- end -}}
{{- if contains "@" ($place.proxy | default "") -}}
{{- $messages = append $messages (printf "config.upstreams.%s has a proxy with a password in it: a ConfigMap is not for secrets. Put the proxy's URL into a Secret, and use that with extraEnv: {name: LIGHTERAGE_UPSTREAMS__%s__PROXY, valueFrom: {secretKeyRef: …}}." $name (upper $name)) -}}
{{- end -}}
{{- if ne (empty $place.certificate_file) (empty $place.key_file) -}}
{{- $messages = append $messages (printf "config.upstreams.%s: certificate_file and key_file are used together. Set both." $name) -}}
{{- end -}}
{{- if and $place.certificate_file (hasPrefix "http:" $place.url) -}}
{{- $messages = append $messages (printf "config.upstreams.%s: certificate_file needs a url that begins with https://." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $name, $login := $values.credentials -}}
{{- if not (or (hasKey $upstreams $name) (and (not $upstreams) (eq $name "docker.io")) $values.existingConfigMap) -}}
{{- $messages = append $messages (printf "credentials.%s: config.upstreams has no %s. Add it with its url, or use the name that it has there." $name $name) -}}
{{- end -}}
{{- if (get $upstreams $name | default dict).credentials -}}
{{- $messages = append $messages (printf "credentials.%s and config.upstreams.%s.credentials: only one can be the login. Remove the other." $name $name) -}}
{{- end -}}
{{- if and $login.usernameKey (ne ($login.kind | default "basic") "basic") -}}
{{- $messages = append $messages (printf "credentials.%s: %s has no username of its own. Remove usernameKey." $name $login.kind) -}}
{{- end -}}
{{- end -}}
{{- if and $lent (not (dig "access" "allow_anonymous" false $config)) (not (include "lighterage.access.isClosed" .)) (not $values.existingConfigMap) -}}
{{- $messages = append $messages (printf "Every client that can reach the proxy would pull with the credentials for %s, because config.access has no rules. If you want that, set config.access.allow_anonymous: true, and restrict the clients with networkPolicy.clients." ($lent | uniq | sortAlpha | join ", ")) -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
